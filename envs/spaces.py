"""Checks and conversions of the spaces of a Gymnasium vector environment, for BatchedEnv."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from .errors import UsageError
from .interface import EnvSpec

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


def read_spaces(env: VectorEnv[Any, Any, Any]) -> tuple[EnvSpec, Callable[[Array], Array]]:
    """Return the spec, and a function that converts observations to [N K H W].

    Raises UsageError unless actions are Discrete from 0 and observations are uint8 images.
    """
    spec, channels_first = _read_spaces(env)
    return replace(spec, privileged=_privileged_names(env.unwrapped)), channels_first


def _privileged_names(env: Any) -> tuple[str, ...]:
    """Return the names of the bytes of the true state that an environment declares."""
    if isinstance(env, SyncVectorEnv):
        env = env.envs[0].unwrapped
    return tuple(getattr(env, "privileged_names", ()))


def _read_spaces(env: VectorEnv[Any, Any, Any]) -> tuple[EnvSpec, Callable[[Array], Array]]:
    space, actions = env.single_observation_space, env.single_action_space
    name = type(env.unwrapped).__name__
    if not isinstance(actions, Discrete) or actions.start != 0:
        raise UsageError(
            f"{name} has action space {actions}; a BatchedEnv needs Discrete actions from 0."
        )
    if not isinstance(space, Box) or space.dtype != np.uint8:
        raise UsageError(
            f"{name} has observation space {space}; a BatchedEnv needs uint8 images (a Box)."
        )
    shape = space.shape
    if len(shape) == 4 and shape[0] == 1:  # one color frame, as ale_py stacks it
        shape = shape[1:]
    if len(shape) == 2:
        spec = EnvSpec(env.num_envs, int(actions.n), (1, shape[0], shape[1]))
        return spec, lambda obs: obs[:, None]
    if len(shape) != 3:
        raise UsageError(
            f"{name} has observation space {space}; a BatchedEnv needs images [H W], [K H W] or "
            "[H W C]."
        )
    if channels := getattr(env.unwrapped, "channels", 0):  # Imagination: [K H W] of such frames
        spec = EnvSpec(env.num_envs, int(actions.n), (shape[0], shape[1], shape[2]), channels)
        return spec, lambda obs: obs
    if shape[2] in (1, 3):
        height, width, channels = shape
        spec = EnvSpec(env.num_envs, int(actions.n), (channels, height, width), channels)
        return spec, lambda obs: obs.reshape(-1, *shape).transpose(0, 3, 1, 2)
    spec = EnvSpec(env.num_envs, int(actions.n), (shape[0], shape[1], shape[2]))
    return spec, lambda obs: obs.reshape(-1, *shape)
