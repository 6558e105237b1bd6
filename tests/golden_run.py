"""A tiny run and a tiny recording of this format, which later versions must load or refuse.

``python tests/golden_run.py`` records them anew, after ``FORMAT`` has changed.
"""

import shutil
from pathlib import Path

from reverie import Experiment, TrainOptions, train
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.policies import RandomPolicy
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.experiments.datasets.collect import collect
from reverie.experiments.evaluation.run_evaluation import Evaluation, evaluate_run
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.planning.straw import STRAWeConfig

FOLDER = Path(__file__).parent / "golden"
RUN, RECORDING = FOLDER / "run", FOLDER / "recording"
OPTIONS = TrainOptions(device="cpu", threads=1, random_play_seconds=0, quiet=True, log_every=100)
EXPERIMENT = Experiment(
    PPOConfig(
        network=MLPConfig((8,)),
        planner=STRAWeConfig(length=6, filters=2, hidden=8, code=4),
        num_steps=16,
        bptt_length=8,
    ),
    CatchConfig(rows=6, columns=4),
    PseudoCountConfig(density=HistogramConfig()),
    total_timesteps=212,  # in the middle of a rollout and of plans
    num_envs=4,
)
KEPT = ("config.json", "provenance.json", "metrics.jsonl", "episodes.jsonl", "scores.json")


def record() -> None:
    for folder in (RUN, RECORDING):
        shutil.rmtree(folder, ignore_errors=True)
    train(EXPERIMENT, RUN, OPTIONS)
    evaluate_run(RUN, Evaluation(episodes=8), device="cpu")
    for path in RUN.iterdir():
        if path.name not in (*KEPT, "checkpoints"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    collect(RandomPolicy(3), CatchConfig(rows=6, columns=4), RECORDING, frames=120, num_envs=4)
    (RECORDING / "lock").unlink()


if __name__ == "__main__":
    record()
