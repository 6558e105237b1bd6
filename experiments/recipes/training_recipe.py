"""Recipes of agents: training with several seeds, and evaluation beside random play."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ...envs.maze import MazeConfig
from ..config.experiment import Experiment
from ..config.run_names import default_folder
from ..evaluation.evaluate import random_play
from ..evaluation.mazes import evaluate_mazes
from ..evaluation.run_evaluation import Evaluation
from ..evaluation.trained_agent import load
from ..reporting.committed import kept_provenance
from ..runs.run import Run
from ..sessions.options import TrainOptions
from ..training.imagined_env import ImaginationConfig
from ..training.task import Task
from .prediction_benchmark import PredictorBenchmark
from .recipe import SeedsRecipe


@dataclass(frozen=True)
class TrainingRecipe(SeedsRecipe):
    """An experiment that is repeated with several seeds, and how its agents are evaluated."""

    options: TrainOptions = TrainOptions()
    seeds: tuple[int, ...] = field(default=(0, 1), kw_only=True)
    evaluation: Evaluation = Evaluation()
    training_score: bool = False
    """Whether the score is the mean of the last training episodes (Machado et al. 2018), with the
    evaluation beside it: so it is for an agent with a bonus, whose evaluation is greedy in values
    that contain the bonus, and for its baseline."""
    variation: str = ""
    """What distinguishes the agent from that of another recipe in the same table."""
    imagination: PredictorBenchmark | None = None
    """The benchmark whose first predictor is fitted first, if the env is its imagination."""

    kind: ClassVar[str] = "training"

    @property
    def cost(self) -> str:
        return super().cost + " + a model" * bool(self.imagination)

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        experiment, env = self.experiment, self.experiment.env
        if self.imagination and isinstance(env, ImaginationConfig):
            env = replace(env, run=self.imagination.fit("predictor", folder).folder)
            experiment = replace(experiment, env=env)
        random, runs = random_play(env.eval_env, episodes=100), [*self.known]
        for seed in self.seeds[len(runs) :]:
            runs.append(self._measure_seed(replace(experiment, seed=seed), folder))
            yield {
                "preset": self.preset,
                "variation": self.variation,
                "imagined": isinstance(env, ImaginationConfig),
                "env_name": env.eval_env.env_name,
                "protocol": env.eval_env.protocol_label,
                "steps": experiment.total_timesteps,
                "frames": experiment.total_timesteps * env.frame_skip,
                "random": random.to_json(),
                "runs": runs,
            }

    def _measure_seed(self, experiment: Experiment, folder: Path) -> dict[str, Any]:
        """Train and evaluate unless finished, and return the seed's part of the result.

        Times are left out: a run may have had several sessions, and ``reverie bench`` measures
        speed.
        """
        run = Run(folder / default_folder(self.preset, experiment).name)
        task = Task(experiment, run.folder, self.options, self.evaluation)
        (scores,) = task.scores or task.execute()
        rows = run.read_lines("metrics.jsonl")
        result = {
            "seed": experiment.seed,
            "evaluation": scores.to_json(),
            "train": {
                "curve": _series(rows, "charts/mean_episodic_return"),
                "exact_hits": rows[-1].get("mfec/exact_hits"),
                "rooms": rows[-1].get("visits/rooms"),
                "keys": rows[-1].get("visits/keys"),
                "states": rows[-1].get("visits/states"),
                "plan_lengths": _series(rows, "plan/mean_length"),
            },
            "provenance": kept_provenance(run),
        }
        if isinstance(experiment.env, MazeConfig):
            result["mazes"] = evaluate_mazes(load(run.folder)[1], experiment.env)
        return result


def _series(rows: list[dict[str, Any]], name: str) -> list[list[float]]:
    """Return [agent step, value] of each row that has the metric."""
    return [[row["step"], row[name]] for row in rows if name in row]
