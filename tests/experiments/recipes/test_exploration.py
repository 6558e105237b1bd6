"""The recipe of exploration by returns to snapshots."""

from dataclasses import replace
from pathlib import Path

import pytest

from reverie import Experiment, TrainOptions
from reverie.agents.go_explore import GoExploreConfig
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.experiments.evaluation.run_evaluation import Evaluation
from reverie.experiments.recipes.exploration_benchmark import ExplorationBenchmark
from reverie.experiments.runs.scores import Scores
from reverie.experiments.training.representations import RepresentationPretraining
from reverie.world_models.latents.binary_vae import BinaryVAEConfig
from reverie.world_models.representation.true_state import TrueStateConfig
from reverie.world_models.representation.variational import VariationalConfig


def test_a_result_has_the_curves_of_training_and_scores_with_and_without_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = replace(PROTOCOLS["deterministic"], height=42, width=40)
    experiment = Experiment(
        GoExploreConfig(TrueStateConfig(names=("player_*", "lives")), explore_steps=20),
        AtariConfig("montezuma_revenge", protocol),
        total_timesteps=240,
        num_envs=4,
    )
    recipe = ExplorationBenchmark(
        "go-explore",
        experiment,
        seeds=(1,),
        options=TrainOptions(
            count_rooms=True, device="cpu", random_play_seconds=0, quiet=True, log_every=80
        ),
        evaluation=Evaluation(episodes=1, protocols=("", "machado"), max_steps=9),
    )
    (result,) = recipe.measure(tmp_path)
    assert result["protocol"].startswith("deterministic with height 42, width 40, returns to snap")
    (run,) = result["runs"]
    assert run["seed"] == 1
    scores = [Scores.from_json(x) for x in run["evaluations"]]
    assert [x.protocol.split()[0] for x in scores] == ["deterministic", "machado"]
    for name, least in {"cells": 5, "rooms": 1, "keys": 0, "best_score": 0}.items():
        assert [step for step, _ in run["train"][name]] == [80, 160, 240]
        assert run["train"][name][-1][1] >= least, name
    assert run["train"]["snapshot_mb"][-1][1] > 0
    monkeypatch.setattr("reverie.experiments.training.task.train", None)
    assert list(recipe.measure(tmp_path)) == [result], "finished runs are not repeated"


def test_cells_of_a_learned_representation_start_from_random_play(tmp_path: Path) -> None:
    latent = BinaryVAEConfig(size=4)
    pretraining = RepresentationPretraining(
        representation=VariationalConfig.of(latent), num_updates=2, batch_size=4, held_out=0.5
    )
    experiment = Experiment(
        GoExploreConfig(resolution=1.0, explore_steps=5), CatchConfig(), total_timesteps=400,
        num_envs=4,
    )  # fmt: skip
    recipe = ExplorationBenchmark(
        "go-explore",
        experiment,
        seeds=(3,),
        options=TrainOptions(device="cpu", random_play_seconds=0, quiet=True, log_every=200),
        evaluation=Evaluation(episodes=1, protocols=("",), max_steps=9),
        pretraining=pretraining,
        frames=200,
    )
    (result,) = recipe.measure(tmp_path)
    assert result["representation"] == "binary-vae"
    (run,) = result["runs"]
    assert 1 <= run["train"]["cells"][-1][1] <= 2**4
