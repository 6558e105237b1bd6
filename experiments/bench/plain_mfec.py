"""Episodic control in plain numpy, as published implementations have it: the contender of a race.

It acts for one env after another and asks each action's table in turn. Tables are searched by one
matrix-vector product and ``numpy.argpartition``, which is faster than the trees of published code
for keys of 64 numbers; a stored state is found by a dictionary.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...agents.interface import ActOutput
from ...envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition

Array = NDArray[Any]


class PlainTable:
    """The keys of one action with their returns; a full table replaces the least recent visit."""

    def __init__(self, dim: int, *, capacity: int, num_neighbors: int) -> None:
        self.num_neighbors = num_neighbors
        self.keys = np.zeros((capacity, dim), np.float32)
        self.squares = np.zeros(capacity, np.float32)
        self.returns = np.zeros(capacity, np.float32)
        self.last_visit = np.zeros(capacity, np.int64)
        self.rows: dict[bytes, int] = {}
        self.num_visits = 0

    def estimate(self, key: Array) -> float:
        """Return the stored return of a key, or else the mean of its neighbors' (eq. 2)."""
        row = self.rows.get(key.tobytes())
        if row is not None:
            return float(self.returns[row])
        size = len(self.rows)
        if size < self.num_neighbors:
            return np.inf
        distance = self.squares[:size] - 2 * (self.keys[:size] @ key)
        nearest = np.argpartition(distance, self.num_neighbors - 1)[: self.num_neighbors]
        return float(self.returns[nearest].mean())

    def update(self, key: Array, value: float) -> None:
        """Keep the greater return of a key (eq. 1)."""
        self.num_visits += 1
        name = key.tobytes()
        row = self.rows.get(name)
        if row is None:
            row = len(self.rows)
            if row == len(self.keys):
                row = int(self.last_visit.argmin())
                del self.rows[self.keys[row].tobytes()]
            self.rows[name] = row
            self.keys[row], self.squares[row], self.returns[row] = key, key @ key, value
        self.returns[row] = max(self.returns[row], value)
        self.last_visit[row] = self.num_visits


class PlainMFEC:
    """An agent whose settings are those of ``agent:mfec`` with a projection of 64 numbers."""

    def __init__(
        self,
        spec: EnvSpec,
        *,
        capacity: int,
        num_neighbors: int = 11,
        gamma: float = 1.0,
        epsilon: float = 0.005,
        dim: int = 64,
    ) -> None:
        self.spec, self.gamma, self.epsilon = spec, gamma, epsilon
        self.rng = np.random.default_rng(0)
        num_pixels = int(np.prod(spec.obs_shape))
        matrix = self.rng.normal(0, 1 / np.sqrt(dim) / 255, (dim, num_pixels))
        self.matrix = matrix.astype(np.float32)
        self.tables = [
            PlainTable(dim, capacity=capacity, num_neighbors=num_neighbors)
            for _ in range(spec.num_actions)
        ]
        self.episodes: list[list[tuple[Array, int, float]]] = [[] for _ in range(spec.num_envs)]

    def initial(self, n: int) -> Carry:
        return {}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Act greedily on the estimates; the extras are the observations' keys."""
        keys = [self.matrix @ obs.ravel().astype(np.float32) for obs in step.obs.numpy()]
        actions = torch.tensor([self._choose(key, explore) for key in keys])
        return ActOutput(actions, carry, {"key": torch.from_numpy(np.stack(keys))})

    def _choose(self, key: Array, explore: bool) -> int:
        if explore and self.rng.random() < self.epsilon:
            return int(self.rng.integers(self.spec.num_actions))
        values = np.array([table.estimate(key) for table in self.tables])
        return int(self.rng.choice(np.flatnonzero(values == values.max())))

    def learn(self, t: Transition) -> Metrics:
        """Store the timestep; when an episode ends, update the tables from its last step on."""
        columns = t.extras["key"].numpy(), t.action.tolist(), t.next_step.reward.tolist()
        flags = t.valid.tolist(), t.next_step.last.tolist()
        rows = zip(self.episodes, *columns, *flags, strict=True)
        for episode, key, action, reward, valid, last in rows:
            if valid:
                episode.append((key, action, reward))
            if last:
                value = 0.0
                for key, action, reward in reversed(episode):
                    value = reward + self.gamma * value
                    self.tables[action].update(key, value)
                episode.clear()
        return {}
