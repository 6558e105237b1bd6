"""What a person sees of a run: a live bar on a terminal, plain lines elsewhere."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from experiments.config import Experiment
from experiments.run import Run


class Display:
    """A headline, then a line for every row of numbers."""

    def __init__(self, headline: str, total: int, *, quiet: bool = False) -> None:
        self.headline, self.total = headline, total
        # A path may hold what rich would take for markup.
        self.console = Console(
            quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self.bar: Bar | None = None

    def __enter__(self) -> "Display":
        self.console.print(self.headline)
        if self.console.is_terminal:
            self.bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.bar.add_task("", total=self.total)
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def line(self, step: int, line: str) -> None:
        """Show where the run is."""
        if self.bar:
            self.bar.update(self.task, completed=step, description=line)
        else:
            self.console.print(line)
            sys.stdout.flush()


class Progress(Display):
    """Shows a run's rows of metrics as they come."""

    def __init__(self, run: Run, experiment: Experiment, step: int, *, quiet: bool = False) -> None:
        self.run, self.experiment, self.first_step = run, experiment, step
        env, skip = experiment.env, experiment.env.frame_skip
        verb = f"continues at step {step:,}" if step else "starts"
        headline = (
            f"{run.folder} {verb}: {env.title}, protocol {env.protocol_label}, seed "
            f"{experiment.seed}, {experiment.steps:,} steps ({experiment.steps * skip:,} frames)"
        )
        super().__init__(headline, experiment.steps, quiet=quiet)

    def say(self, sentence: str) -> None:
        """Show a line of its own."""
        self.console.print(sentence)

    def replay(self, done: int, of: int) -> None:
        """Show how much of the streams' logs has been played again."""
        if self.bar:
            said = f"replaying the streams: {done:,} of {of:,} ticks"
            self.bar.update(self.task, completed=done, total=of, description=said)
            if done == of:
                total = self.experiment.steps
                self.bar.update(self.task, completed=self.first_step, total=total, description="")
        elif done == 1 and of > 1000:
            self.console.print(f"replaying {of:,} ticks of every stream")
            sys.stdout.flush()

    def row(self, step: int, row: dict[str, float]) -> None:
        """Show one row of metrics."""
        line = f"step {step:>9,}  {row['time/steps_per_second']:>6,.0f} steps/s"
        if "time/ratio_to_bare_stream" in row:
            line += f" ({row['time/ratio_to_bare_stream']:.0%} of bare)"
        score = row["score/mean_100"]
        shown = f"{score:,.1f}" if score == score else "none yet"
        self.line(step, line + f"  {row['episodes']:>6,.0f} episodes, mean of last 100: {shown}")

    def end(self, step: int, *, finished: bool) -> None:
        """Say where the run stands."""
        if finished:
            self.console.print(f"Done: {step:,} steps in {self.run.folder}")
        else:
            self.console.print(f"Stopped at step {step:,}; the same command continues.")
