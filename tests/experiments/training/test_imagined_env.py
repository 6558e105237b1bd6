"""Tests of a pretrained predictor as an environment, from the recording to the evaluation."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import gymnasium
import pytest
import torch

from reverie import Experiment, train
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.serialization import encode, read_experiment
from reverie.experiments.datasets.collect import collect
from reverie.experiments.evaluation.evaluate import Evaluation, evaluate_run
from reverie.experiments.runs.run import Run
from reverie.experiments.training.imagined_env import ImaginationConfig
from reverie.experiments.training.options import PretrainOptions
from reverie.experiments.training.predictors import PredictorPretraining, compare_predictors
from reverie.experiments.training.pretrain import pretrain

from sample_agents import DQN, OPTIONS, TINY


def test_from_a_recording_to_an_agent_trained_in_imagination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collect, pretrain, compare, train in the imagined env, evaluate in the real one."""
    monkeypatch.chdir(tmp_path)
    env = CatchConfig(rows=16)
    collect(RandomPolicy(3), env, "data", frames=1200, num_envs=4)
    options = PretrainOptions(device="cpu", threads=1, quiet=True, log_every=120)
    for module in ("training.predictors", "training.prediction_error"):
        monkeypatch.setattr(f"reverie.experiments.{module}.CONTEXT_LENGTH", 2)
    for name, conditional in (("model", True), ("no-action", False)):
        predictor = replace(TINY, action_conditional=conditional, updates=(100, 1))
        job = PredictorPretraining(
            data=(Path("data"),), predictor=predictor, stack=1, num_updates=120
        )
        pretrain(job, f"runs/{name}", options)
    result = compare_predictors(
        [Path("runs/model"), Path("runs/no-action")], num_segments=50, horizons=(1, 3)
    )
    assert result["errors"]["all"].keys() == {"copy-last", "model", "no-action"}
    for h in ("1", "3"):
        errors = [result["errors"]["moving"][name][h] for name in ("model", "copy-last")]
        assert errors[0] < errors[1]
    assert Path("runs/model/figures/prediction_errors.png").stat().st_size > 1000
    assert cli.main(["evaluate", "runs/model", "--stochastic", "--device", "cpu"]) == 2
    for change in ({"split": 1}, {"held_out": 0.3}):
        other = replace(job, num_updates=1, **change)
        pretrain(other, f"runs/{next(iter(change))}", options)
        with pytest.raises(UsageError, match="held out different episodes"):
            compare_predictors([Path("runs/model"), Path(f"runs/{next(iter(change))}")])
    pretrain(replace(job, seed=1), "elsewhere/model", options)
    both = [Path("runs/model"), Path("elsewhere/model")]
    result = compare_predictors(both, num_segments=50, horizons=(1,))
    assert result["errors"]["all"].keys() == {"copy-last", *map(str, both)}
    imagined = ImaginationConfig(Path("runs/model"), horizon=20, num_starts=100)
    vector_env = imagined.build(4)
    envs = BatchedEnv(vector_env, seed=1)
    transitions = list(islice(interact(envs, RandomPolicy(3)), 60))
    assert any(bool(t.next_step.last.any()) for t in transitions)
    for t in transitions:
        assert torch.equal(t.next_step.first, t.step.last)
        assert (t.next_step.reward[t.next_step.first] == 0).all()
    assert isinstance(vector_env, gymnasium.vector.VectorEnv)
    train(Experiment(DQN, imagined, num_envs=4, total_timesteps=400), "runs/imagined", OPTIONS)
    (scores,) = evaluate_run("runs/imagined", Evaluation(episodes=5), num_envs=4, device="cpu")
    assert scores.env_name == "catch"
    assert set(scores.scores) <= {-1.0, 1.0}
    assert scores.lengths == (15,) * 5
    (tmp_path / "moved").mkdir()
    for name in ("runs", "data"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    monkeypatch.chdir("/")
    moved = tmp_path / "moved/runs/imagined"
    (again,) = evaluate_run(moved, Evaluation(episodes=5), num_envs=4, device="cpu")
    assert again == scores, "paths are relative to the run"
    experiment = read_experiment(moved)
    assert experiment.env == replace(imagined, run=tmp_path / "moved/runs/model")
    longer = replace(experiment, total_timesteps=480)
    assert train(longer, moved, OPTIONS).finished, "it is the same experiment"


def test_stacks_of_color_frames_cannot_be_evaluated_in_the_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = AtariConfig("pong", replace(PROTOCOLS["mfec"], noops=0))
    collect(RandomPolicy(6), env, "data", frames=64, num_envs=2, format="rgb")
    for stack in (1, 4):
        job = PredictorPretraining(data=(Path("data"),), predictor=TINY, stack=stack)
        config = encode(job, Path(f"runs/{stack}"))
        Run.open(f"runs/{stack}", config).begin(config, 0, {"modified": False})
    eval_env = ImaginationConfig(Path("runs/1")).eval_env
    assert isinstance(eval_env, AtariConfig)
    assert not eval_env.protocol.grayscale
    with pytest.raises(UsageError, match="observations of 4 color frames"):
        _ = ImaginationConfig(Path("runs/4")).eval_env
