"""Catch: a ball falls, a paddle moves below it (Mnih et al. 2014; as in bsuite, 10 x 5).

The return is 1 if the ball is caught and -1 if not. The optimal policy is known, so agents are
tested on it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import Array, SmallEnv
from .checks import at_least, check
from .interface import EnvConfig


@dataclass(frozen=True)
class CatchConfig(EnvConfig):
    """Settings of Catch."""

    rows: int = 10
    """Rows of the board; the ball falls by one per step."""
    columns: int = 5
    """Columns of the board; the ball starts in a random one."""

    def __post_init__(self) -> None:
        check(self, "env", at_least(2), "rows", "columns")

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> "Catch":
        return Catch(num_envs, self.rows, self.columns)

    @property
    def env_name(self) -> str:
        return "catch"

    def action_names(self, count: int) -> tuple[str, ...]:
        return "left", "stay", "right"


class Catch(SmallEnv):
    """N independent boards; actions are left, stay, right."""

    STATE = ("ball", "paddle", "done")

    def __init__(self, num_envs: int, rows: int = 10, columns: int = 5) -> None:
        super().__init__(num_envs, (1, rows, columns), 3, ("ball_row", "ball_column", "paddle"))
        self.rows, self.columns = rows, columns
        self.ball = np.zeros((num_envs, 2), np.int64)  # row, column
        self.paddle = np.zeros(num_envs, np.int64)  # column
        self.done = np.ones(num_envs, np.bool_)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        first = self.done.copy()
        self.reset_envs(first)
        moved = np.minimum(np.maximum(self.paddle + actions - 1, 0), self.columns - 1)
        self.paddle = np.where(first, self.paddle, moved)
        self.ball[~first, 0] += 1
        self.done = self.ball[:, 0] == self.rows - 1
        outcome = np.where(self.ball[:, 1] == self.paddle, 1.0, -1.0)
        reward = np.where(self.done, outcome, 0.0)
        return self.observe(), reward, self.done.copy(), np.zeros_like(self.done), self.info()

    def reset_envs(self, mask: Array) -> None:
        for i in np.flatnonzero(mask):
            self.ball[i] = 0, self.generators[i].integers(self.columns)
        self.paddle[mask] = self.columns // 2
        self.done[mask] = False

    def true_state(self) -> Array:
        return np.concatenate([self.ball, self.paddle[:, None]], 1)

    def observe(self) -> Array:
        boards = np.zeros((self.num_envs, 1, self.rows, self.columns), np.uint8)
        index = np.arange(self.num_envs)
        boards[index, 0, self.ball[:, 0], self.ball[:, 1]] = 255
        boards[index, 0, self.rows - 1, self.paddle] = 255
        return boards
