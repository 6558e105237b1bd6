"""Exploration of a game by returns to snapshots, and what is left of it without them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..config.experiment import Experiment
from ..config.roles import part_name
from ..config.run_names import default_folder
from ..evaluation.run_evaluation import Evaluation
from ..reporting.committed import kept_provenance
from ..runs.run import Run
from ..sessions.options import PretrainOptions, TrainOptions
from ..training.representations import RepresentationPretraining
from ..training.task import Task
from .recipe import SeedsRecipe, pretrain_to_the_end, record_random_play

SERIES = {
    "best_score": "go_explore/best_score", "cells": "go_explore/cells",
    "snapshot_mb": "go_explore/snapshot_mb", "rooms": "visits/rooms", "keys": "visits/keys",
}  # fmt: skip
"""Metrics of training in a result, by their names there."""


@dataclass(frozen=True)
class ExplorationBenchmark(SeedsRecipe):
    """An experiment with several seeds, whose best trajectories are repeated from the start.

    They are repeated without chance, and with the sticky actions that exploration did not have.
    """

    options: TrainOptions = TrainOptions(count_rooms=True)
    evaluation: Evaluation = Evaluation(episodes=10, protocols=("", "machado"))

    pretraining: RepresentationPretraining | None = None
    """That of a learned representation in place of the experiment's, on random play; or None."""
    frames: int = 20_000
    """Frames of that random play."""

    kind: ClassVar[str] = "exploration"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each seed; finished runs are not repeated."""
        experiment, runs = self.experiment, [*self.known]
        agent: Any = experiment.agent
        cells = self.pretraining.representation if self.pretraining else agent.representation
        for seed in self.seeds[len(runs) :]:
            runs.append(self._measure_seed(replace(experiment, seed=seed), folder))
            yield {
                "preset": self.preset,
                "representation": part_name(cells),
                "env_name": experiment.env.env_name,
                "protocol": experiment.protocol_label,
                "steps": experiment.total_timesteps,
                "frames": experiment.total_timesteps * experiment.env.frame_skip,
                "runs": runs,
            }

    def _measure_seed(self, experiment: Experiment, folder: Path) -> dict[str, Any]:
        """Train and evaluate unless finished, and return the seed's part of the result."""
        run = Run(folder / default_folder(self.preset, experiment).name)
        if self.pretraining:
            experiment = self._pretrained(self.pretraining, experiment, folder)
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

    def _pretrained(
        self, job: RepresentationPretraining, experiment: Experiment, folder: Path
    ) -> Experiment:
        """Return the experiment with a representation that saw random play with another seed."""
        seed, env, agent = experiment.seed, experiment.env.eval_env, experiment.agent
        data = folder / f"{env.env_name}-random-s{seed}"
        record_random_play(env, data, frames=self.frames, seed=1_000 + seed)
        job = replace(job, data=(data,), seed=seed)
        options = PretrainOptions(device=self.options.device, precision="fp32", quiet=True)
        fitted = folder / f"{env.env_name}-{job.model_name}-s{seed}"
        run = pretrain_to_the_end(job, fitted, options)
        agent = replace(agent, representation=job.representation)  # type: ignore[call-arg]
        return replace(experiment, agent=agent, init_from=run.folder.resolve())
