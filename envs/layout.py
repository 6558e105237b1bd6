"""Layout of observations: what each axis of an image is, and what a stack of frames begins with.

A vector environment declares its own as ``layout``. Of others it is read from Gymnasium's wrappers
or guessed where only one layout is possible; every other one is refused with the choices.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorObservationWrapper, VectorWrapper
from gymnasium.wrappers import FrameStackObservation
from numpy.typing import NDArray

from .errors import UsageError
from .interface import Padding

Array = NDArray[Any]

CHOICES = {
    3: "CHW or HWC (channels of one frame), KHW or HWK (stacked gray frames, oldest first), or "
    "KHW or HWK with --env.channels 3 (stacked RGB frames in one axis)",
    4: "KHWC, KCHW or another order of K (stacked frames, oldest first), C (channels), H and W",
}
"""The possible axes of images with as many axes, for error messages."""

PADDINGS = (
    "zero (zeros), first (the first frame, repeated) or stored (anything else: observations are "
    "stored whole)"
)


@dataclass(frozen=True)
class Layout:
    """Axes, padding and greatest pixel value of an environment's observations.

    Example::

        from reverie.envs.layout import Layout

        Layout("KHWC", padding="first")  # stacked RGB frames, padded by the first one
    """

    axes: str
    """One letter per axis: H, W, and at most once each C, the channels of a frame, and K, stacked
    frames, oldest first."""
    channels: int = 1
    """Channels of a frame where axis K holds frames x channels and there is no axis C."""
    padding: Padding = "zero"
    """What precedes an episode's first frame in a stack."""
    high: int | None = None
    """Greatest pixel value; None for the one of the observation space."""
    trusted: bool = False
    """Whether observations are known to be as declared, so that they are not checked."""
    planes: bool = False
    """Whether the channels of a frame are planes, each on or off in a pixel, and not a color."""

    def frame_channels(self, shape: tuple[int, ...]) -> int:
        """Return the number of channels of one frame of observations of this shape."""
        if "C" in self.axes:
            return shape[self.axes.index("C")]
        return self.channels if "K" in self.axes else 1

    def images(self, obs: Array) -> Array:
        """Return observations [N, ...] as [N K H W], with the channels of a frame innermost."""
        order = [1 + self.axes.index(axis) for axis in "KCHW" if axis in self.axes]
        images = obs.transpose(0, *order)
        return images.reshape(len(images), -1, *images.shape[-2:])


def layout_of(env: VectorEnv[Any, Any, Any]) -> Layout:
    """Return the layout that an environment declares, or else the only possible one.

    Raises UsageError if there are several.
    """
    copy = _first_copy(env)
    for candidate in (_base(env), copy and copy.unwrapped):
        declared = getattr(candidate, "layout", None)
        if isinstance(declared, Layout):
            return declared
    return find_layout(env)


def find_layout(
    env: VectorEnv[Any, Any, Any],
    *,
    axes: str = "",
    channels: int | None = None,
    padding: Padding | None = None,
    high: int | None = None,
) -> Layout:
    """Complete the given settings by what the wrappers and the shape of an environment tell.

    Raises UsageError, which lists the choices, where several layouts remain.
    """
    name, shape = name_of(env), env.single_observation_space.shape or ()
    stack = _frame_stack(_first_copy(env))
    if not axes:
        axes = _axes_of(shape)
        if stack is not None:
            inner = _axes_of(stack.env.observation_space.shape or ())
            axes = f"K{inner}" if inner else ""
    if not axes:
        if len(shape) not in CHOICES:
            raise UsageError(
                f"{name} has observations of shape {shape}; a BatchedEnv needs images of two to "
                "four axes, such as [H W], [H W C] or [K H W]."
            )
        raise UsageError(
            f"{name} has observations of shape {shape}, whose axes may be {CHOICES[len(shape)]}; "
            "choose with --env.axes, such as "
            f"--env.axes {'CHW' if len(shape) == 3 else 'KHWC'}, or declare the attribute "
            "`layout` of your own vector environment."
        )
    _check_axes(name, axes, channels, shape)
    layout = Layout(axes, channels or 1, high=high)
    frames = shape[axes.index("K")] // layout.channels if "K" in axes else 1
    if frames > 1 and padding is None:
        if stack is None or stack.stack_size != frames:
            raise UsageError(
                f"{name} stacks {frames} frames, and what precedes the first frame of an episode "
                f"is not known; choose --env.padding {PADDINGS}, or other --env.axes if these are "
                "no frames."
            )
        known: dict[str, Padding] = {"reset": "first", "zero": "zero"}
        padding = known.get(stack.padding_type, "stored")
    return Layout(axes, channels or 1, padding or "zero", high)


def name_of(env: VectorEnv[Any, Any, Any]) -> str:
    """Return the id of a vector environment's copies, or else the name of their class."""
    copy = _first_copy(env)
    spec = env.spec if copy is None else copy.spec
    return str(spec.id if spec else type((copy or env).unwrapped).__name__)


def _base(env: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any] | None:
    """Return the vector environment inside its wrappers, if none of them changes observations."""
    while isinstance(env, VectorWrapper):
        changes = env.single_observation_space != env.env.single_observation_space
        if changes or isinstance(env, VectorObservationWrapper):
            return None
        env = env.env
    return env


def _first_copy(env: VectorEnv[Any, Any, Any]) -> Any:
    """Return the first of the Gymnasium environments whose observations these are, if any."""
    base = _base(env)
    return base.envs[0] if isinstance(base, SyncVectorEnv) else None


def _frame_stack(env: Any) -> FrameStackObservation[Any, Any, Any] | None:
    """Return the wrapper that stacks frames, if no wrapper around it changes observations."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, FrameStackObservation):
            return env
        changes = env.observation_space != env.env.observation_space
        if changes or isinstance(env, gymnasium.ObservationWrapper):
            return None
        env = env.env
    return None


def _axes_of(shape: tuple[int, ...]) -> str:
    """Return the axes that images of this shape must have, or nothing if there is a choice.

    One or three channels last are a frame in color, unless the first axis may count channels or
    frames too.
    """
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3 and shape[0] == 1 and shape[2] not in (1, 3):
        return "CHW"
    if len(shape) == 3 and shape[0] > 4 and shape[2] in (1, 3):
        return "HWC"
    return ""


def _check_axes(name: str, axes: str, channels: int | None, shape: tuple[int, ...]) -> None:
    valid = {"H", "W"} <= set(axes) <= set("KCHW") and len(set(axes)) == len(axes)
    if not valid or len(axes) != len(shape):
        raise UsageError(
            f"env.axes is {axes}, and {name} has observations of shape {shape}; name each of their "
            "axes by one letter: H, W, C for channels and K for stacked frames, such as "
            f"{('HW', 'CHW', 'KHWC')[min(max(len(shape), 2), 4) - 2]}."
        )
    if channels is not None and ("C" in axes or "K" not in axes):
        raise UsageError(
            f"env.channels is {channels}, and the axes {axes} tell the channels already; leave it "
            "out, or choose axes with K and without C."
        )
    if channels is not None and (channels < 1 or shape[axes.index("K")] % channels):
        raise UsageError(
            f"env.channels is {channels}, and axis K of {name} has {shape[axes.index('K')]} "
            "entries; it must divide them."
        )
