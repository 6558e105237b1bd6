"""Tests of a pretrained predictor as an environment, from the recording to the evaluation."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

from reverie import Experiment, train
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv, spec_of
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.config.serialization import encode, read_experiment
from reverie.experiments.datasets.collect import collect
from reverie.experiments.evaluation.run_evaluation import Evaluation, evaluate_run
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.imagined_env import ImaginationConfig
from reverie.experiments.training.predictors import PredictorPretraining, compare_predictors
from reverie.experiments.training.pretrain import pretrain

import sample_envs  # noqa: F401  # registers Counter-v0
from sample_agents import DQN, OPTIONS, TINY


def test_from_a_recording_to_an_agent_trained_in_imagination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collect, pretrain, compare, train in the imagined env, evaluate in the real one."""
    monkeypatch.chdir(tmp_path)
    env = CatchConfig(rows=16)
    collect(RandomPolicy(3), env, "data", frames=1200, num_envs=4)
    options = PretrainOptions(device="cpu", threads=1, quiet=True, log_every=120)
    for name, conditional in (("model", True), ("no-action", False)):
        predictor = replace(TINY, action_conditional=conditional, updates=(100, 1))
        job = PredictorPretraining(
            data=(Path("data"),), predictor=predictor, stack=1, num_updates=120
        )
        pretrain(job, f"runs/{name}", options)
    monkeypatch.setattr("reverie.world_models.inference.hypothesis.UPDATES", 20)
    result = compare_predictors(
        [Path("runs/model"), Path("runs/no-action")], num_segments=50, horizons=(1, 3), video=True
    )
    assert result["errors"]["all"].keys() == {"copy-last", "model", "no-action"}
    for h in ("1", "3"):
        errors = [result["errors"]["moving"][name][h] for name in ("model", "copy-last")]
        assert errors[0] < errors[1]
    assert Path("runs/model/figures/prediction_errors.png").stat().st_size > 1000
    for name in ("model", "no-action"):
        assert Path(f"runs/{name}/videos/imagined.mp4").stat().st_size > 1000
        ranked = result["dreams"]["single_steps"][name]["positive reward"]
        assert 0 < ranked["events"] < ranked["steps"], "the end of an episode, where it is caught"
        assert ranked["auc"] is not None
        assert result["dreams"]["objects"]["moving object"][name]["3"]["present"] > 50
    assert json.loads(Path("runs/model/evaluation.json").read_text()) == result
    assert cli.main(["evaluate", "runs/model", "--stochastic", "--device", "cpu"]) == 2
    for change in ({"split": 1}, {"held_out": 0.3}):
        other = replace(job, num_updates=1, **change)
        pretrain(other, f"runs/{next(iter(change))}", options)
        with pytest.raises(UsageError, match="held out different episodes"):
            compare_predictors([Path("runs/model"), Path(f"runs/{next(iter(change))}")])
    pretrain(replace(job, seed=1), "elsewhere/model", options)
    both = [Path("runs/model"), Path("elsewhere/model")]
    result = compare_predictors(both, num_segments=50, horizons=(1,), errors_only=True)
    assert result["errors"]["all"].keys() == {"copy-last", *map(str, both)}
    both[1].rename("elsewhere/copy-last")
    both = [Path("elsewhere/copy-last"), Path("runs/model")]
    result = compare_predictors(both, num_segments=50, horizons=(1,), errors_only=True)
    assert result["errors"]["all"].keys() == {"copy-last", *map(str, both)}
    baseline, named = (result["errors"]["all"][x]["1"] for x in ("copy-last", str(both[0])))
    assert baseline != named
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


def predictor_run(folder: str, stack: int) -> Path:
    """Return the folder of a pretraining on the recording ``data`` that has no checkpoint yet."""
    job = PredictorPretraining(data=(Path("data"),), predictor=TINY, stack=stack)
    config = encode(job, Path(folder))
    Run.open(folder, config).begin(config, 0, {"modified": False})
    return Path(folder)


COLOR = AtariConfig("pong", replace(PROTOCOLS["mfec"], noops=0))


@pytest.mark.parametrize(
    ("env", "format", "stack", "remedy"),
    [
        (CatchConfig(), "own", 4, r"\(4 frames\) .* pretrain the predictor with --stack 1\."),
        (GymConfig("sample_envs:Counter-v0"), "own", 2, "pretrain the predictor with --stack 1"),
        (COLOR, "rgb", 4, "with --stack 1, or on a recording with --format gray"),
    ],
    ids=["catch", "gym", "color"],
)
def test_a_dream_unlike_the_real_env_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: Any, format: Any, stack: int, remedy: str
) -> None:
    """The remedy is tried: with its number of frames the predictor passes the check."""
    monkeypatch.chdir(tmp_path)
    policy = RandomPolicy(spec_of(env).num_actions)
    collect(policy, env, "data", frames=64, num_envs=2, format=format)
    dream = ImaginationConfig(predictor_run("runs/wrong", stack))
    with pytest.raises(UsageError, match=remedy):
        train(Experiment(DQN, dream, num_envs=4, total_timesteps=400), "runs/agent", OPTIONS)
    assert not Path("runs/agent/config.json").exists()
    with pytest.raises(UsageError, match="no checkpoint yet"):
        ImaginationConfig(predictor_run("runs/right", 1)).build(1)


def test_a_dream_of_an_env_that_has_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=64, num_envs=2)
    manifest = Path("data/manifest.json")
    manifest.write_text(manifest.read_text().replace('"rows": 10', '"rows": 9'))
    with pytest.raises(UsageError, match=r"1x10x5 .* but catch has .* 1x9x5 .* record it again"):
        ImaginationConfig(predictor_run("runs/model", 1)).build(1)


def test_the_env_of_evaluation_has_the_predictors_number_of_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gray = replace(COLOR, protocol=replace(COLOR.protocol, stack=1))
    collect(RandomPolicy(6), gray, "data", frames=64, num_envs=2)
    eval_env = ImaginationConfig(predictor_run("runs/model", 4)).eval_env
    assert eval_env == replace(COLOR, protocol=replace(COLOR.protocol, stack=4))
