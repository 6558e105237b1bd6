"""Progress of a run on the console: a live line on a terminal, a line now and then elsewhere.

The line is refreshed by wall time, whatever the speed of the run, and fits the console's width.
"""

import errno
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ...envs.interface import Metrics
from ..config.experiment import Job
from ..runs.output import discard_output
from .callbacks import Callback

LIVE_SECONDS = 0.5
"""Seconds between two refreshes of the line on a terminal."""
PLAIN_SECONDS = 15.0
"""Seconds between two lines elsewhere; the first one comes after ``FIRST_SECONDS``."""
FIRST_SECONDS = 2.0
RATE_SECONDS = 30.0
"""Seconds over which the speed is measured."""
LONG_HOURS = 1.0
"""Remaining hours of which the user is warned."""


class RunConsole(Console):
    """A console on which a run survives the end of its output.

    If a pipe is no longer read, the run is interrupted, by SIGPIPE among its ``signals``. If a
    terminal has been closed, the run goes on, unless SIGHUP interrupts it.
    """

    def __init__(self, signals: list[int], *, quiet: bool, **settings: Any) -> None:
        super().__init__(quiet=quiet, **settings)
        self.signals, self.quiet = signals, quiet

    def on_broken_pipe(self) -> None:
        self.quiet = True
        self.signals.append(signal.SIGPIPE)
        discard_output()
        with suppress(OSError):
            print("The output is no longer read; the run ends with a checkpoint.", file=sys.stderr)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.quiet = True
            discard_output()


class Speed:
    """Steps per second over the last ``RATE_SECONDS`` of wall time."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, int]] = deque()

    def update(self, now: float, step: int) -> None:
        """Add the step at a time, both of which increase."""
        self.marks.append((now, step))
        while len(self.marks) > 2 and now - self.marks[1][0] >= RATE_SECONDS:
            self.marks.popleft()

    @property
    def steps_per_second(self) -> float:
        """The present speed; 0 if it is not known."""
        (start, first), (now, step) = self.marks[0], self.marks[-1]
        return (step - first) / (now - start) if now > start else 0.0


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


def progress_line(
    width: int, scores: Sequence[str], step: int, total: int, unit: str, rate: float
) -> str:
    """Return the most detailed line that fits ``width`` columns.

    It has the score, the progress, the remaining time if the run is not at its end, and the speed.
    """
    share = f"{int(100 * min(step / total, 1))}%"
    seconds = remaining_seconds(step, total, rate)
    eta = [f"ETA {duration(seconds)}"] if step < total else []
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    score, count = scores[-1], f"{step:,} of {total:,} {unit}s ({share})"
    lines = [
        *([x, count, *eta, f"{speed} {unit}s/s"] for x in scores),
        [score, f"{unit} {step:,} ({share})", *eta, f"{speed} {unit}s/s"],
        [score, share, *eta, f"{speed}/s"],
    ]
    texts = [" | ".join(parts) for parts in lines]
    return next((text for text in texts if len(text) <= width), texts[-1])[:width]


def remaining_seconds(step: int, total: int, rate: float) -> float:
    """Return the seconds until the last step at a speed; infinity if it is 0."""
    return max(total - step, 0) / rate if rate else float("inf")


def duration(seconds: float) -> str:
    """Return seconds as a short text: 45 s, 12 min, 3.4 h."""
    if seconds == float("inf"):
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
