"""A line about work in progress, so that a long wait is never silent."""

import sys
import time
from collections.abc import Callable

LIVE_INTERVAL, INTERVAL = 0.5, 20.0
"""Seconds between two lines, where a line replaces the one before it and elsewhere."""


class ProgressLine:
    """A line that is rewritten on a terminal; elsewhere a new line every ``INTERVAL`` seconds.

    It goes to stderr, or is handed to ``tell``, which is no terminal. Work that takes less than the
    interval shows none.
    """

    def __init__(self, tell: Callable[[str], object] | None = None) -> None:
        self.tell, self.live = tell, tell is None and sys.stderr.isatty()
        self.interval = LIVE_INTERVAL if self.live else INTERVAL
        self.last_time = time.monotonic()
        self.shown = False

    def update(self, describe: Callable[[], str]) -> None:
        """Show the description if a line is due."""
        if time.monotonic() - self.last_time < self.interval:
            return
        self.last_time, self.shown = time.monotonic(), True
        if self.tell:
            self.tell(describe())
        elif self.live:
            print(f"\r\x1b[K{describe()}", end="", file=sys.stderr, flush=True)
        else:
            print(describe(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line of a terminal."""
        if self.live and self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
