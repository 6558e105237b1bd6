"""Progress of a run on the console: a bar on a terminal, lines elsewhere."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ..config.experiment import Experiment
from ..runs.run import Run


class Display:
    """A headline, and the latest row of metrics, beside a bar on a terminal."""

    def __init__(self, headline: str, total: int, *, quiet: bool = False) -> None:
        self.headline, self.total = headline, total
        # Without markup, because rich would interpret brackets in a path.
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

    def message(self, text: str) -> None:
        """Print a message on its own line."""
        self.console.print(text)

    def update(self, step: int, text: str) -> None:
        """Show the current step and a description of the run's state."""
        if self.bar:
            self.bar.update(self.task, completed=step, description=text)
        else:
            self.console.print(text)
            sys.stdout.flush()


class TrainingDisplay(Display):
    """The progress of training: replay of the envs, rows of metrics, and the end."""

    def __init__(self, run: Run, experiment: Experiment, step: int, *, quiet: bool = False) -> None:
        self.run, self.experiment, self.first_step = run, experiment, step
        env, total = experiment.env, experiment.total_timesteps
        state = f"continues at step {step:,}" if step else "starts"
        headline = (
            f"{run.folder} {state}: {env.env_name}, protocol {env.protocol_label}, seed "
            f"{experiment.seed}, {total:,} steps ({total * env.frame_skip:,} frames)"
        )
        super().__init__(headline, total, quiet=quiet)

    def replay(self, done: int, total: int) -> None:
        """Show the progress of replaying the action logs of the envs."""
        if self.bar:
            text = f"replaying the envs: {done:,} of {total:,} timesteps"
            self.bar.update(self.task, completed=done, total=total, description=text)
            if done == total:
                steps = self.experiment.total_timesteps
                self.bar.update(self.task, completed=self.first_step, total=steps, description="")
        elif done == 1 and total > 1000:
            self.message(f"replaying {total:,} timesteps of every env")
            sys.stdout.flush()

    def row(self, step: int, row: dict[str, float]) -> None:
        """Show one row of metrics."""
        text = f"step {step:>9,}  {row['charts/SPS']:>6,.0f} steps/s"
        if "charts/SPS_ratio_to_random" in row:
            text += f" ({row['charts/SPS_ratio_to_random']:.0%} of random play)"
        mean = row["charts/episodic_return"]
        shown = f"{mean:,.1f}" if mean == mean else "none yet"
        episodes = row["charts/episodes"]
        self.update(step, text + f"  {episodes:>6,.0f} episodes, mean of last 100: {shown}")

    def end(self, step: int, *, finished: bool) -> None:
        """Show the final step, and whether the run is finished."""
        if finished:
            self.message(f"Done: {step:,} steps in {self.run.folder}")
        else:
            self.message(f"Stopped at step {step:,}; the same command continues.")
