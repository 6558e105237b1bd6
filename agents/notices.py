"""Notices to the user of an agent or a bonus that has nothing to learn from."""

import sys


class Notice:
    """A sentence printed on stderr once, if what is awaited has not happened in ``patience`` steps.

    Its steps are counted anew when a run continues.

    Example::

        from reverie.agents.notices import Notice

        notice = Notice(patience=10_000)
        notice.update(8, happened=False, sentence="No episode has ended.")
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.steps = patience, 0
        self.closed = False
        """Whether it has happened, or the sentence has been printed."""

    @classmethod
    def of_episodes(cls, num_envs: int) -> "Notice":
        """Return a notice that waits for the end of an episode, at least 50 timesteps long."""
        return cls(patience=max(10_000, 50 * num_envs))

    def update(self, steps: int, *, happened: bool, sentence: str) -> None:
        """Count steps up to the patience, unless what is awaited has happened."""
        if self.closed:
            return
        self.steps += steps
        self.closed = happened or self.steps >= self.patience
        if self.closed and not happened:
            print(f"reverie: {sentence}", file=sys.stderr, flush=True)
