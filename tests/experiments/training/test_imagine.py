"""Laws of learning in imagination in rounds: it resumes exactly, and keeps a bounded store."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.serialization import read_job
from reverie.experiments.datasets.collect import collect
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions import driver
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.sessions.session_clock import SessionClock
from reverie.experiments.training.imagine import ImagineOptions, imagine
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.experiments.training.pretrain import pretrain

from sample_agents import DQN, TINY

EXPERIMENT = Experiment(agent=DQN, env=CatchConfig(), num_envs=8)


def options(**settings: Any) -> ImagineOptions:
    common: dict[str, Any] = {"device": "cpu", "threads": 1, "quiet": True, "predictor": TINY}
    small = {"rounds": 2, "real_steps": 400, "num_updates": 30, "imagined_steps": 400}
    small |= {"horizon": 5, "eval_episodes": 3}
    return ImagineOptions(**common | small | settings)


def agent_of(folder: Path) -> Any:
    state = Run(folder).checkpoints.load()
    assert state is not None
    return state["agent"]


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_equal(a[name], b[name])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


class ShortSession(SessionClock):
    """A session whose time is up after 19 steps or updates."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps = 0

    @property
    def time_is_up(self) -> bool:
        self.steps += 1
        return self.steps > 18


def test_rounds_stopped_in_every_stage_end_as_uninterrupted_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = imagine(EXPERIMENT, tmp_path / "whole", options())
    assert [x["real_steps"] for x in whole] == [400, 800]
    monkeypatch.setattr(driver, "SessionClock", ShortSession)
    calls, parts = 0, list[dict[str, Any]]()
    while len(parts) < 2:
        parts = imagine(EXPERIMENT, tmp_path / "parts", options())
        calls += 1
    assert calls == 7  # each round stops once in its 30 updates and twice in its 50 timesteps
    assert parts == whole
    for number in (1, 2):
        assert_equal(
            *(
                agent_of(tmp_path / name / f"round-{number}" / "agent")
                for name in ("whole", "parts")
            )
        )
    again = imagine(EXPERIMENT, tmp_path / "parts", options())
    assert again == whole


def test_the_second_round_learns_from_play_of_the_first_agent(tmp_path: Path) -> None:
    first = imagine(EXPERIMENT, tmp_path, options(rounds=1))
    with pytest.raises(UsageError, match="real_steps: 400, not 800"):
        imagine(EXPERIMENT, tmp_path, options(real_steps=800))
    config = json.loads((tmp_path / "imagine.json").read_text())
    del config["horizon"], config["experiment"]["agent"]["n_step"]  # of an older version
    (tmp_path / "imagine.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"horizon: 50, not 5; .*n_step: 1, not 3"):
        imagine(EXPERIMENT, tmp_path, options())
    (tmp_path / "imagine.json").write_text(json.dumps(config | {"format": 1}))
    with pytest.raises(UsageError, match="begin in another folder"):
        imagine(EXPERIMENT, tmp_path, options())
    (tmp_path / "imagine.json").unlink()
    assert imagine(EXPERIMENT, tmp_path, options())[:1] == first  # more rounds may follow
    policies = [
        json.loads((tmp_path / f"round-{i}/recording/manifest.json").read_text())["policy"]
        for i in (1, 2)
    ]
    assert policies == ["random", "round-1"]
    job = read_job(tmp_path / "round-2/predictor")
    assert isinstance(job, PredictorPretraining)
    assert [x.parent.name for x in job.data] == ["round-1", "round-2"]
    state = Run(tmp_path / "round-2/predictor").checkpoints.load()
    assert state is not None
    assert state["model"]["updates"] == 60  # it went on from the first round's


def test_a_pretraining_goes_on_from_an_equal_model_alone(tmp_path: Path) -> None:
    collect(RandomPolicy(3), CatchConfig(), tmp_path / "data", frames=200, num_envs=4)
    quiet = PretrainOptions(device="cpu", threads=1, quiet=True)
    first = PredictorPretraining((tmp_path / "data",), predictor=TINY, stack=1, num_updates=3)
    pretrain(first, tmp_path / "first", quiet)
    job = replace(first, num_updates=2, init_from=tmp_path / "first")
    pretrain(job, tmp_path / "second", quiet)
    state = Run(tmp_path / "second").checkpoints.load()
    assert state is not None
    assert state["model"]["updates"] == 5
    other = replace(job, predictor=replace(TINY, head_hidden=8))
    with pytest.raises(UsageError, match=r"another model .*head_hidden: 0, not 8"):
        pretrain(other, tmp_path / "third", quiet)
    with pytest.raises(UsageError, match="no run folder"):
        pretrain(replace(job, init_from=tmp_path / "data"), tmp_path / "third", quiet)


def test_only_the_newest_recordings_are_kept(tmp_path: Path) -> None:
    imagine(EXPERIMENT, tmp_path, options(rounds=3, kept_recordings=1))
    kept = sorted(
        path.parent.parent.name for path in tmp_path.glob("round-*/recording/manifest.json")
    )
    assert kept == ["round-2", "round-3"]


def test_the_command_takes_a_predictor_and_refuses_what_imagination_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = (
        "imagine dqn env:catch predictor:tiny-mlp agent.network:mlp --rounds 1 "
        "--real-steps 400 --num-updates 10 --horizon 5 --imagined-steps 200 --num-envs 8 "
        "--eval-episodes 2 --device cpu --threads 1 --folder runs/x"
    ).split()
    assert cli.main(argv) == 0
    assert "Round 1 of 1: 400 real steps, score" in capsys.readouterr().out
    assert cli.main([*argv, "--real-steps", "500"]) == 2
    assert cli.main(["imagine", "mfec", "env:catch", "agent.representation:true-state"]) == 2
    assert "imagination lacks" in capsys.readouterr().err
    assert cli.main(["imagine", "ppo", "--games", "pong,freeway", "--folder", "x"]) == 2
    refused = ["imagine", "dqn", "env:catch", "predictor:emulator", "agent.network:mlp"]
    assert cli.main([*refused, "--folder", "runs/y"]) == 2
    assert not list(Path("runs/y").glob("round-*"))  # before a step is recorded
    assert cli.main([*argv, "--total-timesteps", "200"]) == 2
    assert "give --rounds" in capsys.readouterr().err
