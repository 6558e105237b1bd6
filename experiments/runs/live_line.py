"""A line of progress, so that a long wait is never silent."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

LIVE_SECONDS = 0.5
"""Seconds between two lines on a terminal, where each replaces the one before it."""
PLAIN_SECONDS = 15.0
"""Seconds between two lines elsewhere; the first one comes after ``FIRST_SECONDS``."""
FIRST_SECONDS = 2.0


class LiveLine:
    """A line that a terminal overwrites; elsewhere it is printed anew after some seconds.

    It goes to the console, or is handed to ``tell``, which cannot overwrite.

    Example::

        from reverie.experiments.runs.console import progress_console
        from reverie.experiments.runs.live_line import LiveLine

        line = LiveLine(progress_console())
        line.start()
        if line.due():
            line.show("12 of 30 episodes")
        line.close()
    """

    def __init__(self, console: Console, tell: Callable[[str], object] | None = None) -> None:
        self.console, self.tell = console, tell
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.next_time = 0.0

    @property
    def overwrites(self) -> bool:
        """Whether the line is overwritten, as a terminal can."""
        return self.tell is None and self.console.is_terminal and not self.console.quiet

    def start(self) -> None:
        """Begin to count the time until the first line."""
        self.next_time = time.monotonic() + (LIVE_SECONDS if self.overwrites else FIRST_SECONDS)

    def due(self) -> bool:
        """Return whether it is time for a line, and if so count the time until the next one."""
        now = time.monotonic()
        if now < self.next_time:
            return False
        self.next_time = now + (LIVE_SECONDS if self.overwrites else PLAIN_SECONDS)
        return True

    def show(self, text: str) -> None:
        """Show a line."""
        if self.overwrites:
            self.live.start()
            self.live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)
        elif self.tell:
            self.tell(text)
        else:
            self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Clear the line of a terminal."""
        self.live.stop()
