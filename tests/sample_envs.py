"""Environments for tests: small ones with a known result, and some that misbehave."""

import time
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS, AtariProtocol
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.gym import GymConfig
from reverie.envs.interface import EnvConfig, Segment
from reverie.envs.layout import Layout
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.config.registry import ENVS
from reverie.world_models.prediction.feedforward import FeedforwardConfig
from reverie.world_models.prediction.imagination import Imagination

# Breakout loses its five lives soon under random play, so its episodes end within a test.
EXAMPLES: dict[str, list[EnvConfig]] = {
    "catch": [CatchConfig(), CatchConfig(rows=4, columns=3)],
    "atari": [
        AtariConfig("breakout", PROTOCOLS["nature"]),
        AtariConfig("pong", AtariProtocol("short", sticky=0.25, stack=1, frames_cap=240)),
    ],
    "deep-sea": [DeepSeaConfig(size=5)],
    "minatar": [MinAtarConfig(), MinAtarConfig("seaquest", max_episode_steps=40)],
    "gym": [GymConfig("sample_envs:Counter-v0")],
}
"""Configs that the laws of environments are tested on; others are tested with their defaults."""

DETERMINISTIC = {"deep-sea"}
"""Names of environments that do not depend on their seed."""


@dataclass(frozen=True)
class DreamConfig(EnvConfig):
    """Dreams of an untrained predictor, which obey the laws of environments too."""

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> Imagination:
        config = FeedforwardConfig(size="tiny")
        model = config.build(obs_shape=(2, 6, 5), num_actions=3, seed=1)
        torch.nn.init.constant_(model.heads.output.bias, 2.0)  # a dream ends with probability 0.12
        return Imagination(model, noise_segment(7), num_envs, horizon=30)

    @property
    def env_name(self) -> str:
        return "dream"


def noise_segment(count: int) -> Segment:
    """Return observations of noise to start dreams from."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (count, 1, 2, 6, 5), dtype=torch.uint8, generator=generator)
    empty, false = torch.zeros(count, 0), torch.zeros(count, 1, dtype=torch.bool)
    return Segment(empty.long(), obs, empty, empty, empty, false, false)


LAW_ENVS = [env for name, config in ENVS.items() for env in EXAMPLES.get(name, [config()])] + [
    DreamConfig(),
]


class ScriptedEnv(VectorEnv[Any, Any, Any]):
    """Episodes of three steps with rewards 1, 2, 4; odd envs are truncated, even terminated."""

    def __init__(
        self,
        num_envs: int = 2,
        mode: AutoresetMode | None = AutoresetMode.NEXT_STEP,
        shape: tuple[int, ...] = (1, 2, 2),
        actions: Any = None,
        dtype: Any = np.uint8,
        layout: Layout | None = None,
    ) -> None:
        self.num_envs, self.layout = num_envs, layout
        self.metadata = {} if mode is None else {"autoreset_mode": mode}
        self.single_observation_space = Box(0, 255, shape, dtype)
        self.single_action_space = actions or Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.time = np.zeros(num_envs, np.int64)
        self.buffer = np.zeros((num_envs, *shape), np.uint8)  # written again each timestep

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.time[:] = 0
        return self._observe(), {}

    def step(self, actions: Any) -> Any:
        first = self.time == 3
        self.time = np.where(first, 0, self.time + 1)
        done, odd = self.time == 3, np.arange(self.num_envs) % 2 == 1
        reward = np.where(first, 0.0, 2.0 ** (self.time - 1))
        return self._observe(), reward, done & ~odd, done & odd, {}

    def _observe(self) -> Any:
        self.buffer[:] = self.time.reshape(-1, *[1] * (self.buffer.ndim - 1))
        return self.buffer


class HangingEnv(ScriptedEnv):
    """Environment whose third step never returns."""

    timesteps = 0

    def step(self, actions: Any) -> Any:
        self.timesteps += 1
        if self.timesteps == 3:
            time.sleep(3600)
        return super().step(actions)


class Counter(gymnasium.Env[Any, Any]):
    """Gymnasium environment whose episodes have a random number of steps."""

    observation_space = Box(0, 255, (6, 5, 3), np.uint8)
    action_space = Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps_left, self.sum = int(self.np_random.integers(2, 9)), 0
        return self._observe(), {}

    def step(self, action: int) -> Any:
        self.steps_left, self.sum = self.steps_left - 1, self.sum + int(action)
        done = self.steps_left == 0
        return self._observe(), float(action), done and self.sum % 2 == 0, done, {}

    def _observe(self) -> Any:
        obs = np.zeros((6, 5, 3), np.uint8)
        obs[0, 0], obs[1, 1] = self.steps_left, self.sum
        return obs


gymnasium.register("Counter-v0", entry_point="sample_envs:Counter")
