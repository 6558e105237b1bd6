"""The wall clock of a session: when its next checkpoint is due, and when it ends."""

import time


class SessionClock:
    """Time limits in minutes from now on; without ``max_minutes`` a session does not end."""

    def __init__(self, max_minutes: float, checkpoint_minutes: float) -> None:
        self.max_minutes, self.checkpoint_minutes = max_minutes, checkpoint_minutes
        self.start_time = self.save_time = time.monotonic()

    @property
    def time_is_up(self) -> bool:
        """Whether the session has had its ``max_minutes``."""
        return 0 < 60 * self.max_minutes < time.monotonic() - self.start_time

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether the last checkpoint is older than ``checkpoint_minutes``."""
        return time.monotonic() - self.save_time > 60 * self.checkpoint_minutes

    def restart(self) -> None:
        """Count the time from a checkpoint that was written now."""
        self.save_time = time.monotonic()
