"""DeepSea: a hard-exploration grid of size N x N (Osband et al. 2020, bsuite), without noise.

A diver moves down a row per step, and left or right. Every move to the right costs 0.01 / N; a
move to the right in the bottom-right corner gives a reward of 1. The optimal return is 0.99;
moving left throughout gives 0, and a uniform policy finds the treasure about once in 2^N episodes.
Given the same ``mapping_seed``, the actions, rewards and observations are those of bsuite.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import Array, SmallEnv
from .checks import check, within
from .interface import EnvConfig


@dataclass(frozen=True)
class DeepSeaConfig(EnvConfig):
    """Settings of DeepSea; the environment is deterministic, whatever its seed."""

    size: int = 14
    """N: rows, columns, and steps of an episode; bsuite's are 10, 12, ... 50."""
    mapping_seed: int = 42
    """Seed that draws which of the two actions moves right in each cell; bsuite's is 42."""

    def __post_init__(self) -> None:
        check(self, "env", within(2, 255), "size")
        check(self, "env", within(0, 2**32 - 1), "mapping_seed")

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> "DeepSea":
        return DeepSea(num_envs, self.size, self.mapping_seed)

    @property
    def env_name(self) -> str:
        return "deep-sea"


class DeepSea(SmallEnv):
    """N independent divers; the last observation of an episode, below the bottom row, is empty."""

    STATE = ("row", "column")

    def __init__(self, num_envs: int, size: int = 14, mapping_seed: int = 42) -> None:
        super().__init__(num_envs, (1, size, size), 2, ("row", "column"))
        self.size = size
        generator = np.random.RandomState(mapping_seed)  # bsuite's
        self.right_action = generator.binomial(1, 0.5, (size, size))
        self.row, self.column = np.zeros((2, num_envs), np.int64)

    def reset_envs(self, mask: Array) -> None:
        self.row[mask] = self.column[mask] = 0

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        first = self.row == self.size
        bottom = self.row == self.size - 1
        cell = np.minimum(self.row, self.size - 1), self.column
        right = (actions == self.right_action[cell]) & ~first
        treasure = right & bottom & (self.column == self.size - 1)
        reward = treasure - 0.01 / self.size * right
        moved = self.column + np.where(right, 1, -1)
        next_column = np.minimum(np.maximum(moved, 0), self.size - 1)
        self.column = np.where(first, 0, next_column)
        self.row = np.where(first, 0, self.row + 1)
        done = self.row == self.size
        return self.observe(), reward, done, np.zeros_like(done), self.info()

    def true_state(self) -> Array:
        return np.stack([self.row, self.column], 1)

    def observe(self) -> Array:
        obs = np.zeros((self.num_envs, 1, self.size, self.size), np.uint8)
        index = np.flatnonzero(self.row < self.size)
        obs[index, 0, self.row[index], self.column[index]] = 255
        return obs
