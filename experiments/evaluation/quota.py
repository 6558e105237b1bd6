"""The episodes of an evaluation: as many from every env, and none without an end."""

from dataclasses import dataclass

from ...envs.interface import Transition
from .episodes import Episodes


@dataclass(frozen=True)
class Played:
    """A counted episode."""

    score: float
    length: int
    truncated: bool
    """Whether it was cut off, by the env or after the largest number of steps."""


class EpisodeQuota:
    """Counts ``episodes`` whole episodes of n envs, a fixed number from each.

    With a quota for each env, short episodes are not favored. An episode that has not ended after
    ``max_steps`` agent steps is counted as it stands; its env then waits until all envs are reset.
    """

    def __init__(self, episodes: int, n: int, max_steps: int) -> None:
        self.episodes, self.max_steps = episodes, max_steps
        self.quota = [episodes // n + (i < episodes % n) for i in range(n)]
        self.counted: list[list[Played]] = [[] for _ in range(n)]
        self.tracker = Episodes(n)
        self.waiting = [False] * n
        """Whether each env is in an episode that was cut off."""

    def counts(self, i: int) -> bool:
        """Return whether the present episode of env i belongs to the evaluation."""
        return not self.waiting[i] and len(self.counted[i]) < self.quota[i]

    def update(self, t: Transition) -> None:
        """Add a transition, and the episodes that end with it."""
        self.tracker.update(t)
        for episode in self.tracker.pop():
            i = episode["env"]
            truncated = bool(t.next_step.discount[i] > 0)
            self._count(i, Played(episode["score"], episode["length"], truncated))
        for i in (self.tracker.length >= self.max_steps).nonzero()[:, 0].tolist():
            self._count(i, Played(float(self.tracker.score[i]), self.max_steps, True))
            self.waiting[i] = True

    def _count(self, i: int, episode: Played) -> None:
        if self.counts(i):
            self.counted[i].append(episode)

    @property
    def finished(self) -> list[Played]:
        """All counted episodes, ordered by env."""
        return [episode for env_episodes in self.counted for episode in env_episodes]

    @property
    def done(self) -> bool:
        return [*map(len, self.counted)] == self.quota

    @property
    def stuck(self) -> bool:
        """Whether nothing is left to count until all envs are reset."""
        return not any(map(self.counts, range(len(self.quota))))

    def reset(self) -> None:
        """Begin new episodes in all envs."""
        self.tracker.discard_unfinished()
        self.waiting = [False] * len(self.waiting)

    def describe(self) -> str:
        """Return the progress, with the length of the longest episode that is not over."""
        return (
            f"{len(self.finished)} of {self.episodes} episodes, longest now "
            f"{int(self.tracker.length.max()):,} of {self.max_steps:,} steps"
        )
