"""Worlds for tests: small ones with a known answer, and a few that misbehave."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.choices import ENVS
from envs.deep_sea import DeepSeaConfig
from envs.gym import GymConfig
from envs.interface import EnvConfig, Segment
from envs.protocol import PROTOCOLS, AtariProtocol
from world_models.prediction.feedforward import FeedforwardConfig
from world_models.prediction.imagination import Imagination

# Breakout loses its five lives soon under random play, so its episodes end within a test.
EXAMPLES: dict[str, list[EnvConfig]] = {
    "catch": [CatchConfig(), CatchConfig(rows=4, columns=3)],
    "atari": [
        AtariConfig("breakout", PROTOCOLS["nature"]),
        AtariConfig("pong", AtariProtocol("short", sticky=0.25, stack=1, frames_cap=240)),
    ],
    "deep-sea": [DeepSeaConfig(size=5)],
    "gym": [GymConfig("worlds:Counter-v0")],
}
"""Configs the laws of worlds are tested on; a world without an entry is tested as it is built."""

WITHOUT_CHANCE = {"deep-sea"}
"""Titles of worlds in which every seed is the same world."""


@dataclass(frozen=True)
class Dream(EnvConfig):
    """What an untrained predictor imagines: nonsense, under the laws of worlds all the same."""

    def build(self, num_envs: int, *, threads: int = 0) -> Imagination:
        config = FeedforwardConfig(size="tiny")
        model = config.build(obs_shape=(2, 6, 5), num_actions=3, seed=1)
        torch.nn.init.constant_(model.heads.bias, 2.0)  # a dream ends with probability 0.12
        return Imagination(model, remembered(7), num_envs, horizon=30)

    @property
    def title(self) -> str:
        return "dream"


def remembered(count: int) -> Segment:
    """Moments to dream from: looks of noise."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (count, 1, 2, 6, 5), dtype=torch.uint8, generator=generator)
    nothing, never = torch.zeros(count, 0), torch.zeros(count, 1, dtype=torch.bool)
    return Segment(nothing.long(), obs, nothing, nothing, nothing, never, never, {})


LAW_ENVS = [env for name, kind in ENVS.items() for env in EXAMPLES.get(name, [kind()])] + [
    Dream(),
]


class Scripted(VectorEnv[Any, Any, Any]):
    """Episodes of three steps with rewards 1, 2, 4; the odd streams are timed out, not dead."""

    def __init__(
        self,
        num_envs: int = 2,
        mode: AutoresetMode | None = AutoresetMode.NEXT_STEP,
        shape: tuple[int, ...] = (1, 2, 2),
        actions: Any = None,
        dtype: Any = np.uint8,
    ) -> None:
        self.num_envs = num_envs
        self.metadata = {} if mode is None else {"autoreset_mode": mode}
        self.single_observation_space = Box(0, 255, shape, dtype)
        self.single_action_space = actions or Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.time = np.zeros(num_envs, np.int64)
        self.buffer = np.zeros((num_envs, *shape), np.uint8)  # one buffer, written again each tick

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.time[:] = 0
        return self._look(), {}

    def step(self, actions: Any) -> Any:
        born = self.time == 3
        self.time = np.where(born, 0, self.time + 1)
        over, odd = self.time == 3, np.arange(self.num_envs) % 2 == 1
        reward = np.where(born, 0.0, 2.0 ** (self.time - 1))
        return self._look(), reward, over & ~odd, over & odd, {}

    def _look(self) -> Any:
        self.buffer[:] = self.time.reshape(-1, *[1] * (self.buffer.ndim - 1))
        return self.buffer


class Silent(Scripted):
    """Never answers its third step."""

    ticks = 0

    def step(self, actions: Any) -> Any:
        self.ticks += 1
        if self.ticks == 3:
            time.sleep(3600)
        return super().step(actions)


def _counter() -> Any:
    """A Gymnasium environment whose episodes last a seeded number of steps."""
    import gymnasium

    class Counter(gymnasium.Env[Any, Any]):
        observation_space = Box(0, 255, (6, 5, 3), np.uint8)
        action_space = Discrete(3)  # type: ignore[assignment]

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.left, self.sum = int(self.np_random.integers(2, 9)), 0
            return self._look(), {}

        def step(self, action: int) -> Any:
            self.left, self.sum = self.left - 1, self.sum + int(action)
            over = self.left == 0
            return self._look(), float(action), over and self.sum % 2 == 0, over, {}

        def _look(self) -> Any:
            look = np.zeros((6, 5, 3), np.uint8)
            look[0, 0], look[1, 1] = self.left, self.sum
            return look

    return Counter


def _register() -> None:
    import gymnasium

    gymnasium.register("Counter-v0", entry_point=lambda: _counter()())


_register()
