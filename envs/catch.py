"""Catch: a ball falls, a paddle moves below it (Mnih et al. 2014; as in bsuite, 10 x 5).

The return of perfect play is 1, of any miss -1; optimal play is known, so agents are tested on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.interface import EnvConfig

Array = NDArray[Any]


@dataclass(frozen=True)
class CatchConfig(EnvConfig):
    """A falling ball and a paddle."""

    rows: int = 10
    columns: int = 5

    def build(self, num_envs: int, *, threads: int = 0) -> "Catch":
        return Catch(num_envs, self.rows, self.columns)

    @property
    def title(self) -> str:
        return "catch"


class Catch(VectorEnv[Array, Array, Array]):
    """N independent boards; actions are left, stay, right."""

    def __init__(self, num_envs: int, rows: int = 10, columns: int = 5) -> None:
        self.num_envs, self.rows, self.columns = num_envs, rows, columns
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.single_observation_space = Box(0, 255, (1, rows, columns), np.uint8)
        self.single_action_space = Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators = [np.random.default_rng() for _ in range(num_envs)]
        self.ball = np.zeros((num_envs, 2), np.int64)  # row, column
        self.paddle = np.zeros(num_envs, np.int64)
        self.over = np.ones(num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        if isinstance(seed, int):
            seed = [seed + stream for stream in range(self.num_envs)]
        if seed is not None:
            for stream in np.flatnonzero(mask).tolist():
                self.generators[stream] = np.random.default_rng(seed[stream])
        self._drop(mask)
        return self._look(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        born = self.over.copy()
        self._drop(born)
        self.paddle = np.where(
            born, self.paddle, np.clip(self.paddle + actions - 1, 0, self.columns - 1)
        )
        self.ball[~born, 0] += 1
        self.over = self.ball[:, 0] == self.rows - 1
        caught = np.where(self.ball[:, 1] == self.paddle, 1.0, -1.0)
        reward = np.where(self.over, caught, 0.0)
        return self._look(), reward, self.over.copy(), np.zeros_like(self.over), {}

    def _drop(self, mask: Array) -> None:
        for stream in np.flatnonzero(mask):
            self.ball[stream] = 0, self.generators[stream].integers(self.columns)
        self.paddle[mask] = self.columns // 2
        self.over[mask] = False

    def _look(self) -> Array:
        boards = np.zeros((self.num_envs, 1, self.rows, self.columns), np.uint8)
        streams = np.arange(self.num_envs)
        boards[streams, 0, self.ball[:, 0], self.ball[:, 1]] = 255
        boards[streams, 0, self.rows - 1, self.paddle] = 255
        return boards
