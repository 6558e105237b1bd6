"""Exploration of a game by returns to snapshots, and what is left of it without them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..config.experiment import Experiment
from ..config.run_names import default_folder
from ..evaluation.run_evaluation import Evaluation
from ..reporting.committed import kept_provenance
from ..runs.run import Run
from ..sessions.options import TrainOptions
from ..training.task import Task
from .recipe import Recipe

SERIES = {
    "best_score": "go_explore/best_score", "cells": "go_explore/cells",
    "snapshot_mb": "go_explore/snapshot_mb", "rooms": "visits/rooms", "keys": "visits/keys",
}  # fmt: skip
"""Metrics of training in a result, by their names there."""


@dataclass(frozen=True)
class ExplorationBenchmark(Recipe):
    """An experiment with several seeds, whose best trajectories are repeated from the start.

    They are repeated without chance, and with the sticky actions that exploration did not have.
    """

    preset: str
    experiment: Experiment
    seeds: tuple[int, ...] = (0, 1, 2)
    options: TrainOptions = TrainOptions(count_rooms=True)
    evaluation: Evaluation = Evaluation(episodes=10, protocols=("", "machado"))

    kind: ClassVar[str] = "exploration"

    @property
    def cost(self) -> str:
        return f"{len(self.seeds)} x {self.experiment.total_timesteps:,} steps"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each seed; finished runs are not repeated."""
        experiment, runs = self.experiment, []
        for seed in self.seeds:
            runs.append(self._measure_seed(replace(experiment, seed=seed), folder))
            yield {
                "preset": self.preset,
                "env_name": experiment.env.env_name,
                "protocol": experiment.protocol_label,
                "steps": experiment.total_timesteps,
                "frames": experiment.total_timesteps * experiment.env.frame_skip,
                "runs": runs,
            }

    def _measure_seed(self, experiment: Experiment, folder: Path) -> dict[str, Any]:
        """Train and evaluate unless finished, and return the seed's part of the result."""
        run = Run(folder / default_folder(self.preset, experiment).name)
        task = Task(experiment, run.folder, self.options, self.evaluation)
        scores, rows = task.scores or task.execute(), run.read_lines("metrics.jsonl")
        return {
            "seed": experiment.seed,
            "evaluations": [x.to_json() for x in scores],
            "train": {
                name: [[row["step"], row[metric]] for row in rows if metric in row]
                for name, metric in SERIES.items()
            },
            "provenance": kept_provenance(run),
        }
