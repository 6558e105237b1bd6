"""Tasks: runs with their evaluations, which any process can execute or continue."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ...envs.errors import FolderBusy, RunError
from ..config.arguments import import_modules
from ..config.experiment import Experiment
from ..evaluation.evaluate import longest_episode
from ..evaluation.run_evaluation import Evaluation, evaluate_run, with_protocol
from ..runs.run import Run
from ..runs.scores import Scores, find_scores, scores_file
from ..sessions.options import TrainOptions
from .train import train
from .train_together import train_together


@dataclass(frozen=True)
class Task:
    """One run: its training and its evaluation."""

    experiment: Experiment
    folder: Path
    """Run folder; absolute if other processes execute the task."""
    options: TrainOptions = TrainOptions()
    evaluation: Evaluation = Evaluation()

    @property
    def trained_timesteps(self) -> int:
        """Agent steps of the newest checkpoint."""
        return max(Run(self.folder).checkpoints.steps(), default=0)

    @property
    def remaining_timesteps(self) -> int:
        """Agent steps that are left to train."""
        return max(0, self.experiment.total_timesteps - self.trained_timesteps)

    @property
    def scores(self) -> list[Scores]:
        """The scores of the final checkpoint under each protocol; empty unless all are there."""
        trained, stochastic = self.trained_timesteps, self.evaluation.stochastic
        if self.remaining_timesteps:
            return []
        names, own_env = self.evaluation.protocols or ("",), self.experiment.env.eval_env
        files = [self.folder / scores_file(name, stochastic=stochastic) for name in names]
        found = [scores for file in files if (scores := find_scores(file)) is not None]
        if len(found) < len(files):
            return []
        caps = [
            self.evaluation.max_steps or longest_episode(with_protocol(own_env, x)) for x in names
        ]
        wanted = [(trained, self.evaluation.episodes, cap) for cap in caps]
        given = [(scores.steps, scores.episodes, scores.max_steps) for scores in found]
        return found if given == wanted else []

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name

    def execute(self, lock_timeout: float = 60.0) -> list[Scores]:
        """Train the run from its last checkpoint, evaluate it, and return the scores.

        Waits ``lock_timeout`` seconds for a folder that an ending process still holds. Raises
        KeyboardInterrupt if training is interrupted, and RunError if a mean score is not finite.
        """
        import_modules(self.options.imports)
        _check_finished(
            _when_free(lambda: train(self.experiment, self.folder, self.options), lock_timeout)
        )
        scores = evaluate_run(
            self.folder,
            self.evaluation,
            device=self.options.device,
            threads=self.options.threads,
            tell=lambda text: None if self.options.quiet else print(text),
        )
        for each in scores:
            if not math.isfinite(each.mean):
                raise RunError(f"The mean score is {each.mean}.")
        return scores


@dataclass(frozen=True)
class SeedsTask:
    """Runs of one experiment that differ in their seed alone, which one process trains together."""

    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """The name of the first run, and the other seeds."""
        first, *others = self.tasks
        seeds = ", ".join(str(task.experiment.seed) for task in others)
        return f"{first.name} with seed{'s' * (len(others) > 1)} {seeds}"

    @property
    def folder(self) -> Path:
        """The run folder of the first run, which holds the log of all."""
        return self.tasks[0].folder

    @property
    def options(self) -> TrainOptions:
        """The options of every run."""
        return self.tasks[0].options

    def execute(self, lock_timeout: float = 60.0) -> None:
        """Train the runs together from their last checkpoints, and evaluate each.

        If training them together fails, each goes on alone, so that one run that fails leaves the
        others. Raises KeyboardInterrupt as ``Task.execute`` does, and RunError if runs failed.
        """
        import_modules(self.options.imports)
        experiments = [task.experiment for task in self.tasks]
        folders, errors = [task.folder for task in self.tasks], list[str]()
        try:
            for run in _when_free(
                lambda: train_together(experiments, folders, self.options), lock_timeout
            ):
                _check_finished(run)
        except RunError as error:
            print(f"{error} Each seed goes on alone.")
        for task in self.tasks:
            try:
                _ = task.scores or task.execute(lock_timeout)
            except RunError as error:
                errors.append(f"{task.name}: {error}")
        if errors:
            raise RunError(" ".join(errors))


T = TypeVar("T")


def _when_free(begin: Callable[[], T], lock_timeout: float) -> T:
    """Return the result of ``begin``, which is called again while a run folder is locked."""
    deadline = time.monotonic() + lock_timeout
    while True:
        try:
            return begin()
        except FolderBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _check_finished(run: Run) -> None:
    """Raise KeyboardInterrupt if a signal or the time limit ended a run."""
    run.raise_interrupted()
    if not run.finished:
        raise KeyboardInterrupt
