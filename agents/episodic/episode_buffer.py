"""The timesteps of unfinished episodes, which are learned from when their returns are known."""

from typing import Any

import torch
from torch import Tensor

from .neighbor_tables import Encode


class EpisodeBuffer:
    """The timesteps of all envs since the oldest unfinished episode began, time-major."""

    def __init__(self, num_envs: int, device: torch.device, capacity: int = 1024) -> None:
        self.device, self.capacity = device, capacity  # rows allocated at first
        self.episode_starts = [0] * num_envs  # row at which each env's unfinished episode begins
        self.num_rows = 0
        self.fields: dict[str, Tensor] = {}  # each [capacity, N, ...]

    def append(self, **timestep: Tensor) -> None:
        """Add one timestep of all envs; every field is [N, ...]."""
        if not self.fields:
            self.fields = {
                name: x.new_empty(self.capacity, *x.shape) for name, x in timestep.items()
            }
        if self.num_rows == len(self.fields["valid"]):
            self._compact_or_grow()
        for name, x in timestep.items():
            self.fields[name][self.num_rows] = x
        self.num_rows += 1

    def length(self, env: int) -> int:
        """Return the number of timesteps of an env's unfinished episode."""
        return self.num_rows - self.episode_starts[env]

    def rows(self, env: int) -> dict[str, Tensor]:
        """Return the timesteps of an env's unfinished episode, each field [T, ...]."""
        start = self.episode_starts[env]
        return {name: x[start : self.num_rows, env] for name, x in self.fields.items()}

    def drop(self, env: int, count: int) -> None:
        """Drop the first ``count`` timesteps of an env."""
        self.episode_starts[env] += count

    def pop(self, env: int) -> dict[str, Tensor]:
        """Return an env's finished episode, each field [T, ...], and begin its next one."""
        episode = self.rows(env)
        self.drop(env, self.length(env))
        return episode

    def reencode(self, encode: Encode) -> None:
        """Recompute all keys from their observations."""
        for row in range(self.num_rows):
            self.fields["key"][row] = encode(self.fields["obs"][row])

    def _compact_or_grow(self) -> None:
        """Drop the rows of finished episodes; double the capacity if they are less than half."""
        finished = min(self.episode_starts)
        unfinished = {name: x[finished:] for name, x in self.fields.items()}
        capacity = len(self.fields["valid"]) * (1 if finished > self.num_rows // 2 else 2)
        self.fields = {name: x.new_empty(capacity, *x.shape[1:]) for name, x in unfinished.items()}
        for name, x in unfinished.items():
            self.fields[name][: len(x)] = x
        self.num_rows -= finished
        self.episode_starts = [start - finished for start in self.episode_starts]

    def state_dict(self) -> dict[str, Any]:
        """Return the timesteps since the oldest unfinished episode began."""
        finished = min(self.episode_starts)
        return {
            "episode_starts": [start - finished for start in self.episode_starts],
            "fields": {name: x[finished : self.num_rows] for name, x in self.fields.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the timesteps; raises ValueError if an episode starts outside of them."""
        starts, self.num_rows, self.fields = state["episode_starts"], 0, {}
        self.episode_starts = [0] * len(self.episode_starts)  # so that no row is cut meanwhile
        for row in zip(*state["fields"].values(), strict=True):
            timestep = zip(state["fields"], row, strict=True)
            self.append(**{name: x.to(self.device) for name, x in timestep})
        rows = range(self.num_rows + 1)
        if len(starts) != len(self.episode_starts) or any(start not in rows for start in starts):
            raise ValueError(f"episodes start at rows {starts} of {self.num_rows}")
        self.episode_starts = [int(start) for start in starts]
