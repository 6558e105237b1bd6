"""DeepSea: one path in 2^N is worth its price (Osband et al. 2019; as in bsuite).

A diver sinks a row a step, left or right. Every move to the right costs 0.01 / N; the one that
ends in the bottom-right corner finds a treasure of 1. Perfect play returns 0.99, sinking to the
left 0, and whoever explores by chance finds the treasure about once in 2^N episodes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.checks import at_least, check
from envs.interface import EnvConfig
from envs.small import Array, SmallWorld


@dataclass(frozen=True)
class DeepSeaConfig(EnvConfig):
    """A treasure that chance does not find; the world itself has no chance, whatever its seed."""

    size: int = 14
    """N: rows, columns, and steps of an episode."""
    mapping_seed: int = 0
    """Draws which of the two actions is right in each cell."""

    def __post_init__(self) -> None:
        check(self, "env", at_least(2), "size")

    def build(self, num_envs: int, *, threads: int = 0) -> "DeepSea":
        return DeepSea(num_envs, self.size, self.mapping_seed)

    @property
    def title(self) -> str:
        return "deep-sea"


class DeepSea(SmallWorld):
    """N independent divers; the last look of an episode, below the bottom row, is empty."""

    def __init__(self, num_envs: int, size: int = 14, mapping_seed: int = 0) -> None:
        super().__init__(num_envs, (1, size, size), num_actions=2)
        self.size = size
        self.right = np.random.default_rng(mapping_seed).integers(2, size=(size, size))
        self.row, self.column = np.zeros((2, num_envs), np.int64)

    def begin(self, mask: Array) -> None:
        self.row[mask] = self.column[mask] = 0

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        born = self.row == self.size
        bottom = self.row == self.size - 1
        cell = np.minimum(self.row, self.size - 1), self.column
        right = (actions == self.right[cell]) & ~born
        found = right & bottom & (self.column == self.size - 1)
        reward = found - 0.01 / self.size * right
        moved = np.clip(self.column + np.where(right, 1, -1), 0, self.size - 1)
        self.column = np.where(born, 0, moved)
        self.row = np.where(born, 0, self.row + 1)
        over = self.row == self.size
        return self.look(), reward, over, np.zeros_like(over), {}

    def look(self) -> Array:
        seas = np.zeros((self.num_envs, 1, self.size, self.size), np.uint8)
        streams = np.flatnonzero(self.row < self.size)
        seas[streams, 0, self.row[streams], self.column[streams]] = 255
        return seas
