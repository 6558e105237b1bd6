"""Registered Gymnasium environments whose observations are uint8 images."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from .checks import check, within
from .errors import UsageError
from .interface import EnvConfig, Padding
from .layout import find_layout

PROBE_STEPS = 64
"""Random steps in which the greatest pixel value of an environment is observed."""


@dataclass(frozen=True)
class GymConfig(EnvConfig):
    """Settings of a registered Gymnasium environment; every copy is one Python object.

    What is not set is read from Gymnasium's wrappers or guessed where only one choice is possible.
    Raises UsageError for a setting out of its range, for an id that Gymnasium cannot make, and
    where several layouts of the observations are possible.
    """

    id: str = ""
    """Id for ``gymnasium.make``; in ``package:Name-v0`` the package must be imported already."""
    axes: str = ""
    """Axes of an observation, one letter each: H, W, C for the channels of a frame, K for stacked
    frames, oldest first."""
    channels: int | None = None
    """Channels per frame if axis K holds frames x channels, as in an image of 12 channels."""
    padding: Padding | None = None
    """What precedes an episode's first frame in a stack: zeros, the first frame, or anything
    else, so that observations are stored whole."""
    high: int | None = None
    """Greatest pixel value, to scale pixels to 0..255; by default that of the observation space,
    or 1 or 15 if no greater one occurs in a few random steps."""
    wrappers: tuple[str, ...] = ()
    """Wrappers around the env, innermost first, as ``module:Class``; the module must be imported
    already."""

    def __post_init__(self) -> None:
        check(self, "env", within(1, 255), "high")

    def build(
        self, num_envs: int, *, threads: int = 0, privileged: bool = False
    ) -> VectorEnv[Any, Any, Any]:
        envs = SyncVectorEnv([self._make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
        space = envs.single_observation_space
        if isinstance(space, Box) and space.dtype == np.uint8:  # BatchedEnv refuses any other
            high = self.high
            if high is None and space.high.max() == 255 and not space.low.any():
                high = _observed_high(self)
            envs.layout = find_layout(  # type: ignore[attr-defined]
                envs, axes=self.axes, channels=self.channels, padding=self.padding, high=high
            )
        return envs

    @property
    def env_name(self) -> str:
        return self.id.rpartition(":")[2].replace("/", "-")

    @property
    def protocol_label(self) -> str:
        return ", ".join(x.rpartition(":")[2] for x in self.wrappers) or super().protocol_label

    def _make(self) -> gymnasium.Env[Any, Any]:
        if not self.id:
            raise UsageError(
                "env:gym needs an id; name one, such as --env.id MyEnv-v0 --import my_package."
            )
        module = self.id.rpartition(":")[0]
        if module and module not in sys.modules:
            raise UsageError(
                f"env.id is {self.id}, and {module} is not imported; add --import {module}."
            )
        wrappers = [_wrapper(path) for path in self.wrappers]
        try:
            env = gymnasium.make(self.id)
            for wrapper in wrappers:
                env = wrapper(env)
            return OwnInfo(env)
        except (gymnasium.error.Error, ModuleNotFoundError) as error:
            raise UsageError(
                f"Gymnasium cannot make '{self.id}' ({error}); if a module of yours registers it, "
                "add --import MODULE."
            ) from error
        except Exception as error:
            raise UsageError(
                f"The constructor of {' in '.join([*self.wrappers[::-1], self.id])} raised "
                f"{type(error).__name__} ({error}); gymnasium.make('{self.id}') must return an "
                "environment, and a wrapper takes nothing but that."
            ) from error


def _wrapper(path: str) -> Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]:
    """Return the wrapper class that ``module:Class`` names.

    A stored config imports nothing by itself, and calls nothing but wrappers. Raises UsageError if
    the module is not imported, or if it has no such wrapper.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise UsageError(
            f"env.wrappers is {path}; write module:Class, such as "
            "gymnasium.wrappers:GrayscaleObservation."
        )
    if module not in sys.modules:
        raise UsageError(
            f"env.wrappers is {path}, and {module} is not imported; add --import {module}."
        )
    found = getattr(sys.modules[module], name, None)
    if not (isinstance(found, type) and issubclass(found, gymnasium.Wrapper)):
        raise UsageError(
            f"env.wrappers is {path}, and {name} is no subclass of gymnasium.Wrapper in {module}; "
            "name one that is."
        )
    return found


class OwnInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Leaves out of ``info`` what is not read: Gymnasium cannot batch every kind of value."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(**options)
        return obs, self._own(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, self._own(info)

    def _own(self, info: dict[str, Any]) -> dict[str, Any]:
        if not getattr(self.unwrapped, "privileged_names", ()):
            return {}
        return {"privileged": info["privileged"]}


@lru_cache
def _observed_high(env: GymConfig) -> int | None:
    """Return 1 or 15 if some pixels are lit in a few random steps, and none is greater."""
    with _seeded_generators():
        copy = env._make()
        try:
            greatest = max(int(np.max(obs)) for obs in _random_play(copy, PROBE_STEPS))
        except Exception:  # a run ends at the same error, and names it
            return None
        finally:
            copy.close()
    return next((high for high in (1, 15) if 0 < greatest <= high), None)


def _random_play(env: gymnasium.Env[Any, Any], steps: int) -> Iterator[Any]:
    """Yield the observations of a uniformly random policy, seeded by 0."""
    env.action_space.seed(0)
    yield env.reset(seed=0)[0]
    for _ in range(steps):
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        yield obs
        if terminated or truncated:
            yield env.reset()[0]


@contextmanager
def _seeded_generators() -> Iterator[None]:
    """Seed the process-wide generators within the context, and restore them afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.default_generator.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
