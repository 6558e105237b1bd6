"""Returns and lengths of finished episodes."""

from typing import Any

import numpy as np
import torch

from ...envs.interface import Metrics, Transition
from ...world_models.state import HasState

NUM_RECENT = 100
"""Episodes in the means of the metrics."""


class Episodes(HasState):
    """Scores and lengths of finished episodes; scores are sums of raw rewards.

    ``first_env`` is the index of the first env if the run has others elsewhere.
    """

    STATE = ("score", "length", "count", "recent", "recent_lengths")
    PER_ENV = ("score", "length")

    def __init__(self, num_envs: int, first_env: int = 0) -> None:
        self.first_env = first_env
        self.score = torch.zeros(num_envs, dtype=torch.float64)
        self.length = torch.zeros(num_envs, dtype=torch.int64)
        self.count = 0
        self.recent: list[float] = []
        self.recent_lengths: list[int] = []
        self.finished: list[dict[str, Any]] = []

    def update(self, t: Transition, step: int = 0) -> None:
        """Add a transition, which ends at agent step ``step``."""
        self.add(self.ended(t, step))

    def ended(self, t: Transition, step: int) -> list[dict[str, Any]]:
        """Follow the episodes through a transition, and return those that end with it."""
        self.score += t.next_step.reward.cpu()
        self.length += t.valid.cpu()
        last = t.next_step.last.cpu()
        if not last.any():
            return []
        columns = last.nonzero()[:, 0], self.score[last], self.length[last]
        self.score[last], self.length[last] = 0.0, 0
        return [
            {"step": step, "env": self.first_env + env, "score": score, "length": length}
            for env, score, length in zip(*(x.tolist() for x in columns), strict=True)
        ]

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Add finished episodes, in order."""
        self.finished += rows
        self.count += len(rows)
        scores, lengths = ([row[name] for row in rows] for name in ("score", "length"))
        self.recent = [*self.recent, *scores][-NUM_RECENT:]
        self.recent_lengths = [*self.recent_lengths, *lengths][-NUM_RECENT:]

    def discard_unfinished(self) -> None:
        """Discard the unfinished episodes."""
        self.score.zero_()
        self.length.zero_()

    def pop(self) -> list[dict[str, Any]]:
        """Return the episodes finished since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def metrics(self) -> Metrics:
        """Return the number of episodes, and the mean score and length of the newest."""
        nothing = float("nan")
        return {
            "charts/episodes": float(self.count),
            "charts/mean_episodic_return": float(np.mean(self.recent or nothing)),
            "charts/mean_episodic_length": float(np.mean(self.recent_lengths or nothing)),
        }
