"""Progress of a run on the console: a bar on a terminal, lines elsewhere."""

import errno
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..runs.output import discard_output
from .callbacks import Callback, Row
from .throughput import without_machine_metrics


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


class Display(Callback):
    """Messages, and the latest row of metrics, beside a bar of ``total`` steps on a terminal.

    ``signals`` are those of the run's process.
    """

    def __init__(
        self, total: int, describe: Callable[[Row], str], signals: list[int], *, quiet: bool
    ) -> None:
        self.describe = describe
        # Without markup, because rich would interpret brackets in a path.
        self.console = RunConsole(
            signals,
            quiet=quiet,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=total)

    def on_message(self, text: str) -> None:
        self.console.print(text)

    def on_start(self, step: int) -> None:
        self.bar.update(self.task, completed=step)
        self.bar.start()

    def on_row(self, row: Row) -> None:
        self.bar.update(self.task, completed=row.step, description=self.describe(row))
        if not self.console.is_terminal:
            self.on_message(self.describe(row))

    def close(self) -> None:
        self.bar.stop()


def describe_training(row: Row) -> str:
    """Return the throughput, the number of episodes and their mean score."""
    metrics = row.metrics
    ratio, mean = metrics.get("charts/SPS_ratio_to_random"), metrics["charts/mean_episodic_return"]
    ratio_text = f" ({ratio:.0%} of random play)" if ratio else ""
    mean_text = f"{mean:,.1f}" if mean == mean else "none yet"
    return (
        f"step {row.step:>9,}  {metrics['charts/SPS']:>6,.0f} steps/s{ratio_text}  "
        f"{metrics['charts/episodes']:>6,.0f} episodes, mean of last 100: {mean_text}"
    )


def describe_pretraining(row: Row) -> str:
    """Return the throughput and the metrics."""
    metrics = "  ".join(f"{k} {x:.4g}" for k, x in without_machine_metrics(row.metrics).items())
    rate = row.metrics["charts/updates_per_second"]
    return f"update {row.step:>8,}  {rate:>6,.1f} updates/s  {metrics}"
