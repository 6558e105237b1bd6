"""The record of a sweep: the scores of its runs at each rung, in ``sweep.json``.

A run that goes on past a rung is evaluated anew, so that its score at the rung is kept here. The
plan is there, too: another one is refused in the same folder.
"""

import math
from statistics import fmean
from typing import Any

from ...envs.errors import UsageError
from ..reporting.run_results import read_results
from ..runs.config_differences import config_differences
from ..runs.files import read_json, write_json
from ..training.task import Task
from .sweep_plan import SweepPlan, Trial

FILE = "sweep.json"


class SweepRecord:
    """The scores of a sweep's runs, by run folder and rung.

    Raises UsageError if the folder holds another sweep.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan, self.path = plan, plan.folder / FILE
        self.scores: dict[str, dict[str, float]] = {}
        if not self.path.exists():
            return
        data = read_json(self.path)
        try:
            differing = config_differences(data["plan"], plan.identity)
            if differing:
                raise UsageError(
                    f"The folder {plan.folder} holds another sweep ({'; '.join(differing)}); "
                    "choose another with --folder."
                )
            for name, scores in data["runs"].items():
                self.scores[name] = {str(int(x)): float(y) for x, y in scores.items()}
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise UsageError(f"{self.path} is no record of a sweep; delete it, or choose another "
                             "folder with --folder.") from error  # fmt: skip

    def unfinished(self, tasks: list[Task]) -> list[Task]:
        """Return the tasks without a score, after adding the scores of runs that have ended since.

        Raises UsageError if a run is past its rung, and its score there is not in the record.
        """
        left = [task for task in tasks if self.score(task) is None]
        for task in left:
            length, experiment = task.experiment.total_timesteps, task.experiment
            if (
                task.trained_timesteps
                >= length + experiment.num_envs * experiment.agent.rollout_length
            ):
                raise UsageError(
                    f"{task.folder} is past step {length:,}, and {self.path} has no score of it "
                    "there; choose another folder with --folder."
                )
        ended = [task for task in left if task.scores]
        for task in ended:
            self.add(task)
        return [task for task in left if task not in ended]

    def add(self, task: Task) -> None:
        """Add the score of a finished run at its rung, and write the record."""
        results, _ = read_results([task.folder], stochastic=task.evaluation.stochastic)
        score = results[0].score(self.plan.options.score)
        if not math.isfinite(score):  # no episode has ended
            return
        self.scores.setdefault(task.name, {})[str(task.experiment.total_timesteps)] = score
        self.write()

    def score(self, task: Task) -> float | None:
        """Return the score of a run at its rung; None if there is none."""
        return self._score(task.name, task.experiment.total_timesteps)

    def _score(self, run: str, timesteps: int) -> float | None:
        return self.scores.get(run, {}).get(str(timesteps))

    def seed_scores(self, trial: Trial, timesteps: int) -> list[float]:
        """Return the scores of a trial's seeds at a rung, of those that have one."""
        scores = (self._score(run, timesteps) for run in trial.runs)
        return [score for score in scores if score is not None]

    def mean(self, trial: Trial, timesteps: int) -> float | None:
        """Return the mean score of a trial at a rung; None unless each seed has one."""
        scores = self.seed_scores(trial, timesteps)
        return fmean(scores) if len(scores) == self.plan.options.seeds else None

    def write(self) -> None:
        """Write the record."""
        write_json(
            self.path,
            {"plan": self.plan.identity, "runs": self.scores, "trials": self._trials()},
        )

    def _trials(self) -> list[dict[str, Any]]:
        """Return each trial with its mean score at each rung, for other readers."""
        rungs = self.plan.rungs
        return [
            {
                "trial": trial.number,
                "settings": dict(trial.settings),
                "runs": [*trial.runs],
                "means": {str(steps): self.mean(trial, steps) for steps in rungs},
            }
            for trial in self.plan.trials
        ]
