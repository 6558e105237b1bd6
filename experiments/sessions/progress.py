"""Progress of a run on the console: a live line on a terminal, a line now and then elsewhere.

The line is refreshed by wall time, whatever the speed of the run, and fits the console's width.
"""

import time
from collections.abc import Callable, Sequence

from ...envs.interface import Metrics
from ..config.experiment import Job
from ..runs.console import RunConsole
from ..runs.live_line import LiveLine
from ..runs.progress_text import Speed, duration, progress_line, remaining_seconds
from ..text.terminal_text import message
from .callbacks import Callback

SETTLE_SECONDS = 30.0
"""Seconds for which the estimate of the remaining time is long before the user is warned of it.

A pause, as of a model's fit, no longer slows the measured speed by then.
"""
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
        self.line = LiveLine(self.console)
        self.speed = Speed()
        self.slow_since: float | None = None
        """When the estimate of the remaining time became a long one."""
        self.warned = False

    def on_message(self, text: str) -> None:
        self.console.print(message(text, terminal=self.console.is_terminal))

    def on_start(self, step: int) -> None:
        self.speed.update(time.monotonic(), step)
        self.line.start()

    def on_metrics(self, metrics: Metrics) -> None:
        if not self.line.due():
            return
        now, (step, scores) = time.monotonic(), self.status()
        self.speed.update(now, step)
        if not self.warned:
            self._warn_of_a_long_run(now, step)
        self.line.show(self._describe(step, scores))

    def on_end(self, step: int) -> None:
        step, scores = self.status()
        self.speed.update(time.monotonic(), step)
        self.line.close()
        self.on_message(self._describe(step, scores))

    def close(self) -> None:
        self.line.close()

    def _describe(self, step: int, scores: Sequence[str]) -> str:
        rate, job = self.speed.steps_per_second, self.job
        return progress_line(self.console.width, scores, step, job.length, job.unit, rate)

    def _warn_of_a_long_run(self, now: float, step: int) -> None:
        seconds = remaining_seconds(step, self.job.length, self.speed.steps_per_second)
        if seconds <= 3600 * LONG_HOURS:
            self.slow_since = None
        elif self.slow_since is None:
            self.slow_since = now
        elif now - self.slow_since > SETTLE_SECONDS:
            self.warned = True
            flag = self.job.length_field.replace("_", "-")
            self.on_message(
                f"At the present speed the run takes {duration(seconds)} more; Ctrl-C stops it "
                f"with a checkpoint, and --{flag} sets its length."
            )
