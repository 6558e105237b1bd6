"""Tasks: a run with its evaluation, which any process can execute or continue."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from ...envs.errors import FolderBusy, RunError
from ..config.arguments import import_modules
from ..config.experiment import Experiment
from ..evaluation.run_evaluation import Evaluation, evaluate_run
from ..runs.run import Run
from ..runs.scores import Scores, find_scores, scores_file
from ..sessions.options import TrainOptions
from .train import train


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
        names = self.evaluation.protocols or ("",)
        files = [self.folder / scores_file(name, stochastic=stochastic) for name in names]
        found = [scores for file in files if (scores := find_scores(file)) is not None]
        wanted = [(trained, self.evaluation.episodes)] * len(files)
        return found if [(scores.steps, scores.episodes) for scores in found] == wanted else []

    def execute(self, lock_timeout: float = 60.0) -> list[Scores]:
        """Train the run from its last checkpoint, evaluate it, and return the scores.

        Waits ``lock_timeout`` seconds for a folder that an ending process still holds. Raises
        KeyboardInterrupt if training is interrupted, and RunError if a mean score is not finite.
        """
        import_modules(self.options.imports)
        deadline = time.monotonic() + lock_timeout
        while True:
            try:
                run = train(self.experiment, self.folder, self.options)
                break
            except FolderBusy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        run.raise_interrupted()
        if not run.finished:
            raise KeyboardInterrupt
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
