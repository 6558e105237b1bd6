"""What a Gymnasium vector environment offers, as a Stream needs it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from envs.errors import UsageError
from envs.interface import EnvSpec

Array = NDArray[Any]


def check_autoreset(env: VectorEnv[Any, Any, Any]) -> None:
    """Raise UsageError for any mode but NEXT_STEP, in which every tick is a tick of all streams."""
    mode = env.metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
        raise UsageError(
            f"{type(env.unwrapped).__name__} has autoreset mode "
            f"{getattr(mode, 'name', mode)}, and a Stream needs NEXT_STEP; build it with "
            "autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP."
        )


def read_spaces(env: VectorEnv[Any, Any, Any]) -> tuple[EnvSpec, Callable[[Array], Array]]:
    """The spec, and how this world's observations become [N K H W].

    Raises UsageError for actions that are not Discrete from 0, and looks that are no uint8 images.
    """
    space, actions = env.single_observation_space, env.single_action_space
    name = type(env.unwrapped).__name__
    if not isinstance(actions, Discrete) or actions.start != 0:
        raise UsageError(f"{name} has actions {actions}; a Stream needs Discrete ones from 0.")
    if not isinstance(space, Box) or space.dtype != np.uint8:
        raise UsageError(f"{name} shows {space}; a Stream needs uint8 images (a Box).")
    shape = space.shape
    if len(shape) == 4 and shape[0] == 1:  # one coloured frame, as ale_py stacks it
        shape = shape[1:]
    if len(shape) == 2:
        spec = EnvSpec(env.num_envs, int(actions.n), (1, shape[0], shape[1]))
        return spec, lambda obs: obs[:, None]
    if len(shape) != 3:
        raise UsageError(f"{name} shows {space}; a Stream needs images [H W], [K H W] or [H W C].")
    if colours := getattr(env.unwrapped, "colours", 0):  # it says so itself
        spec = EnvSpec(env.num_envs, int(actions.n), (shape[0], shape[1], shape[2]), colours)
        return spec, lambda obs: obs
    if shape[2] in (1, 3):
        height, width, colours = shape
        spec = EnvSpec(env.num_envs, int(actions.n), (colours, height, width), colours)
        return spec, lambda obs: obs.reshape(-1, *shape).transpose(0, 3, 1, 2)
    spec = EnvSpec(env.num_envs, int(actions.n), (shape[0], shape[1], shape[2]))
    return spec, lambda obs: obs.reshape(-1, *shape)
