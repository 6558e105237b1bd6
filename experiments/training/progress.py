"""Progress of a run on the console: a live line on a terminal, a line now and then elsewhere.

The line is refreshed by wall time, whatever the speed of the run, and fits the console's width.
"""

import time
from collections.abc import Callable, Sequence

from rich.live import Live
from rich.text import Text

from ...envs.interface import Metrics
from ..config.experiment import Job
from ..runs.console import RunConsole
from ..runs.progress_text import Speed, duration, progress_line, remaining_seconds
from .callbacks import Callback

LIVE_SECONDS = 0.5
"""Seconds between two refreshes of the line on a terminal."""
PLAIN_SECONDS = 15.0
"""Seconds between two lines elsewhere; the first one comes after ``FIRST_SECONDS``."""
FIRST_SECONDS = 2.0
LONG_HOURS = 1.0
"""Remaining hours of which the user is warned."""


class Display(Callback):
    """Messages, and a line with the score, the progress, the remaining time and the speed.

    ``status`` returns the present step and the score as texts, the most detailed one first.
    ``signals`` are those of the run's process.
    """

    def __init__(
        self,
        job: Job,
        status: Callable[[], tuple[int, Sequence[str]]],
        signals: list[int],
        *,
        quiet: bool,
    ) -> None:
        self.job, self.status = job, status
        # Without markup, because rich would interpret brackets in a path.
        self.console = RunConsole(
            signals,
            quiet=quiet,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.speed = Speed()
        self.start_time = self.next_time = time.monotonic()
        self.warned = False

    @property
    def is_live(self) -> bool:
        """Whether the line is overwritten, as a terminal can."""
        return self.console.is_terminal and not self.console.quiet

    def on_message(self, text: str) -> None:
        self.console.print(text)

    def on_start(self, step: int) -> None:
        self.start_time = time.monotonic()
        self.next_time = self.start_time + (LIVE_SECONDS if self.is_live else FIRST_SECONDS)
        self.speed.update(self.start_time, step)
        if self.is_live:
            self.live.start()

    def on_metrics(self, metrics: Metrics) -> None:
        now = time.monotonic()
        if now < self.next_time:
            return
        self.next_time = now + (LIVE_SECONDS if self.is_live else PLAIN_SECONDS)
        step, scores = self.status()
        self.speed.update(now, step)
        if not self.warned and now - self.start_time >= PLAIN_SECONDS:
            self._warn_of_a_long_run(step)
        line = self._line(step, scores)
        if self.is_live:
            self.live.update(Text(line, no_wrap=True, overflow="crop"), refresh=True)
        else:
            self.on_message(line)

    def on_end(self, step: int) -> None:
        step, scores = self.status()
        self.speed.update(time.monotonic(), step)
        self.live.stop()
        self.on_message(self._line(step, scores))

    def close(self) -> None:
        self.live.stop()

    def _line(self, step: int, scores: Sequence[str]) -> str:
        rate, job = self.speed.steps_per_second, self.job
        return progress_line(self.console.width, scores, step, job.length, job.unit, rate)

    def _warn_of_a_long_run(self, step: int) -> None:
        seconds = remaining_seconds(step, self.job.length, self.speed.steps_per_second)
        if seconds > 3600 * LONG_HOURS:
            self.warned = True
            flag = self.job.length_field.replace("_", "-")
            self.on_message(
                f"At the present speed the run takes {duration(seconds)} more; Ctrl-C stops it "
                f"with a checkpoint, and --{flag} sets its length."
            )
