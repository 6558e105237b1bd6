"""Catch: a ball falls, a paddle moves below it (Mnih et al. 2014; as in bsuite, 10 x 5).

The return of perfect play is 1, of any miss -1; optimal play is known, so agents are tested on it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.checks import at_least, check
from envs.interface import EnvConfig
from envs.small import Array, SmallWorld


@dataclass(frozen=True)
class CatchConfig(EnvConfig):
    """A falling ball and a paddle."""

    rows: int = 10
    columns: int = 5

    def __post_init__(self) -> None:
        check(self, "env", at_least(2), "rows", "columns")

    def build(self, num_envs: int, *, threads: int = 0) -> "Catch":
        return Catch(num_envs, self.rows, self.columns)

    @property
    def title(self) -> str:
        return "catch"

    def action_names(self, count: int) -> tuple[str, ...]:
        return "left", "stay", "right"


class Catch(SmallWorld):
    """N independent boards; actions are left, stay, right."""

    def __init__(self, num_envs: int, rows: int = 10, columns: int = 5) -> None:
        super().__init__(num_envs, (1, rows, columns), num_actions=3)
        self.rows, self.columns = rows, columns
        self.ball = np.zeros((num_envs, 2), np.int64)  # row, column
        self.paddle = np.zeros(num_envs, np.int64)
        self.over = np.ones(num_envs, np.bool_)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        born = self.over.copy()
        self.begin(born)
        self.paddle = np.where(
            born, self.paddle, np.clip(self.paddle + actions - 1, 0, self.columns - 1)
        )
        self.ball[~born, 0] += 1
        self.over = self.ball[:, 0] == self.rows - 1
        caught = np.where(self.ball[:, 1] == self.paddle, 1.0, -1.0)
        reward = np.where(self.over, caught, 0.0)
        return self.look(), reward, self.over.copy(), np.zeros_like(self.over), {}

    def begin(self, mask: Array) -> None:
        for stream in np.flatnonzero(mask):
            self.ball[stream] = 0, self.generators[stream].integers(self.columns)
        self.paddle[mask] = self.columns // 2
        self.over[mask] = False

    def look(self) -> Array:
        boards = np.zeros((self.num_envs, 1, self.rows, self.columns), np.uint8)
        streams = np.arange(self.num_envs)
        boards[streams, 0, self.ball[:, 0], self.ball[:, 1]] = 255
        boards[streams, 0, self.rows - 1, self.paddle] = 255
        return boards
