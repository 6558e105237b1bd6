"""Spaces of a Gymnasium vector environment: checks, and its observations as [N K H W]."""

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray

from .errors import UsageError
from .interface import EnvSpec
from .layout import PADDINGS, layout_of, name_of

Array = NDArray[Any]


def check_autoreset(env: VectorEnv[Any, Any, Any]) -> None:
    """Raise UsageError unless the autoreset mode is NEXT_STEP."""
    mode = env.metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
        raise UsageError(
            f"{type(env.unwrapped).__name__} has autoreset mode "
            f"{getattr(mode, 'name', mode)}, and a BatchedEnv needs NEXT_STEP; build it with "
            "autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP."
        )


class ObservationReader:
    """Reads the observations of a vector environment as images [N K H W] with pixels of 0..255.

    If the environment's pixels have a smaller range, they are multiplied by the greatest integer
    that keeps them within 0..255, after the least one is subtracted. Unless the layout is trusted,
    every observation is checked: its pixels lie in their range, and the older frames of a stack are
    the newer ones of the stack before. ``first_env`` is the index of the first env in messages.

    Raises UsageError unless actions are Discrete from 0 and observations are uint8 images of a
    known layout.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], first_env: int = 0) -> None:
        space, actions = env.single_observation_space, env.single_action_space
        self.name, self.first_env = name_of(env), first_env
        if not isinstance(actions, Discrete) or actions.start != 0:
            raise UsageError(
                f"{self.name} has action space {actions}; a BatchedEnv needs Discrete actions "
                f"from 0. {_action_remedy(actions)}"
            )
        if not isinstance(space, Box) or space.dtype != np.uint8:
            shown = " ".join(str(space).split())
            raise UsageError(
                f"{self.name} has observation space {shown}; a BatchedEnv needs uint8 images (a "
                f"Box). {_observation_remedy(space)}"
            )
        self.shape, self.layout = space.shape, layout_of(env)
        images = self.layout.images(np.empty((1, *self.shape), np.uint8))
        self.spec = EnvSpec(
            env.num_envs,
            int(actions.n),
            (images.shape[1], images.shape[2], images.shape[3]),
            self.layout.frame_channels(self.shape),
            self.layout.padding,
            _privileged_names(env.unwrapped),
            self.layout.planes,
        )
        self.low, self.high = int(space.low.min()), int(space.high.max())
        if self.layout.high is not None:
            self.high = self.layout.high
        self.factor = 255 // max(self.high - self.low, 1)
        self.previous: UInt8[Array, "N K H W"] | None = None

    def read(
        self, obs: Array, *, first: Bool[Array, " N"] | None, timestep: int
    ) -> UInt8[Array, "N K H W"]:
        """Return the images of one timestep; without ``first`` the stack before is not known.

        Raises UsageError, which names the timestep, if a check fails.
        """
        obs = np.asarray(obs)
        images = self.layout.images(obs.reshape(-1, *self.shape))
        if not self.layout.trusted:
            self._check_pixels(images, timestep)
        if self.low or self.factor > 1:
            images = (images - np.uint8(self.low)) * np.uint8(self.factor)
        if not self.layout.trusted and self.spec.stack > 1:
            if first is not None:
                self._check_stacks(images, first, timestep)
            self.previous = images.copy()
        return images

    def _check_pixels(self, images: UInt8[Array, "N K H W"], timestep: int) -> None:
        if self.high == 255 and not self.low:
            return
        outside = (images > self.high) | (images < self.low)
        if outside.any():
            env, value = int(outside.nonzero()[0][0]), int(images[outside][0])
            remedy = "correct the observation space of the environment"
            if value > self.high:
                remedy = f"set --env.high {value} or the greatest value that occurs"
            raise UsageError(
                f"Env {self.first_env + env} of {self.name} has a pixel of {value} at timestep "
                f"{timestep}, and its pixels are in {self.low}..{self.high}; {remedy}."
            )

    def _check_stacks(
        self, images: UInt8[Array, "N K H W"], first: Bool[Array, " N"], timestep: int
    ) -> None:
        channels, axes = self.spec.channels, self.layout.axes
        older = images[:, :-channels]
        expected = older if self.previous is None else self.previous[:, channels:]
        wrong = (older != expected).any((1, 2, 3)) & ~first
        if wrong.any():
            raise UsageError(
                f"Env {self.first_env + int(wrong.argmax())} of {self.name} has an observation at "
                f"timestep {timestep} whose older frames are not the newer ones of the observation "
                f"before, although its axes are {axes}; choose other axes, such as --env.axes "
                f"{axes.translate(str.maketrans('KC', 'CK'))}."
            )
        if self.spec.padding == "stored":
            return
        stack = images.reshape(len(images), self.spec.stack, channels, *images.shape[2:])
        padding = stack[:, -1:] if self.spec.padding == "first" else np.zeros_like(stack[:, -1:])
        wrong = (stack[:, :-1] != padding).any((1, 2, 3, 4)) & first
        if wrong.any():
            raise UsageError(
                f"Env {self.first_env + int(wrong.argmax())} of {self.name} has a first "
                f"observation at timestep {timestep} whose older frames are not as its padding, "
                f"'{self.spec.padding}', says; choose --env.padding {PADDINGS}, or other "
                f"--env.axes than {axes}."
            )


def _privileged_names(env: Any) -> tuple[str, ...]:
    """Return the names of the bytes of the true state that an environment declares."""
    if isinstance(env, SyncVectorEnv):
        env = env.envs[0].unwrapped
    return tuple(getattr(env, "privileged_names", ()))


def _action_remedy(space: Space[Any]) -> str:
    """Return how a wrapper gives an env with other actions Discrete ones from 0."""
    if isinstance(space, Box):
        wrapper = "DiscretizeAction(env, bins=5)"
    elif isinstance(space, Discrete):
        wrapper = f"TransformAction(env, lambda a: a + {space.start}, Discrete({space.n}))"
    elif isinstance(space, MultiDiscrete | MultiBinary):
        sizes = space.nvec.tolist() if isinstance(space, MultiDiscrete) else [2] * space.shape[0]
        wrapper = (
            f"TransformAction(env, lambda a: np.array(np.unravel_index(a, {sizes})), "
            f"Discrete({math.prod(sizes)}))"
        )
    else:
        wrapper = "TransformAction(env, function, Discrete(n))"
    return _advice(wrapper)


def _observation_remedy(space: Space[Any]) -> str:
    """Return how a wrapper gives an env with other observations uint8 images."""
    if isinstance(space, Dict | Tuple):
        parts = list(space.items() if isinstance(space, Dict) else enumerate(space))
        key = max(parts, key=lambda part: len(part[1].shape or ()))[0]  # an image, if there is one
        choose = f"lambda obs: obs[{key!r}], env.observation_space[{key!r}]"
        return _advice(f"TransformObservation(env, {choose})")
    if not isinstance(space, Box) or len(space.shape) < 2:
        return _advice(
            "AddRenderObservation(env), with gymnasium.make(ID, render_mode='rgb_array'), whose "
            "observations are pictures; ResizeObservation makes them smaller"
        )
    low, high = float(space.low.min()), float(space.high.max())
    scaled = f"(obs - {low:g}) * {255 / (high - low):g}"
    if not math.isfinite(high - low):
        scaled = "scale(obs)"
    elif low == 0:
        scaled = "obs" if high == 255 else f"obs * {255 / high:g}"
    image = f"Box(0, 255, {space.shape}, np.uint8)"
    return _advice(f"TransformObservation(env, lambda obs: ({scaled}).astype(np.uint8), {image})")


def _advice(wrapper: str) -> str:
    return f"Register an id for the env in gymnasium.wrappers.{wrapper}."
