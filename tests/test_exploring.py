"""Bonuses in a run: chosen by name, paid, resumed, and stopped when their numbers are lost."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_densities import flat
from torch import Tensor

from agents.choices import BONUSES
from agents.density_bonus import PseudoCountConfig
from agents.interface import Agent, AgentConfig
from agents.policies import RandomPolicy
from agents.simhash import SimHashConfig
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.deep_sea import DeepSeaConfig
from envs.errors import UsageError
from envs.interface import EnvSpec, Metrics, Transition
from envs.protocol import PROTOCOLS
from experiments import cli
from experiments.config import Experiment, choose_all, roles
from experiments.parse import parse_experiment
from experiments.presets import PRESETS
from experiments.run import Run
from experiments.training import TrainOptions, train
from world_models.density.cts import CTS
from world_models.density.pixelcnn import PixelCNNConfig

OPTIONS = TrainOptions(device="cpu", threads=1, log_every=200, bare_seconds=0, quiet=True)
QUIET = ["--quiet", "--bare-seconds", "0", "--device", "cpu", "--threads", "1"]


@dataclass(frozen=True)
class WandererConfig(AgentConfig):
    """Walks at random and sums up what it is paid for exploring."""

    def build(self, spec: EnvSpec, *, seed: int = 0, device: Any = "cpu") -> Agent:
        return Wanderer(spec.num_actions, seed)


class Wanderer(RandomPolicy):
    paid = 0.0

    def learn(self, t: Transition) -> Metrics:
        assert not t.bonus[~t.valid].any()
        object.__setattr__(self, "paid", self.paid + float(t.bonus.sum()))
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"paid": self.paid}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "paid", state["paid"])


WANDER = Experiment(WandererConfig(), CatchConfig(), steps=1200, streams=4, seed=3)


@pytest.fixture(autouse=True)
def wander(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "wander", WANDER)


def numbers(run: Run) -> dict[str, float]:
    row = run.read_lines("metrics.jsonl")[-1]
    return {name: x for name, x in row.items() if not name.startswith("time/")}


@pytest.mark.parametrize("name", BONUSES)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    experiment = replace(WANDER, bonus=BONUSES[name]())
    straight = train(experiment, tmp_path / "straight", OPTIONS)
    train(replace(experiment, steps=520), tmp_path / "halved", OPTIONS)
    halved = train(experiment, tmp_path / "halved", OPTIONS)
    assert numbers(straight) == numbers(halved)
    states = [flat(run.checkpoints.load()) for run in (straight, halved)]
    bonuses = [{k: v for k, v in state.items() if ".bonus" in k} for state in states]
    torch.testing.assert_close(*bonuses, rtol=0, atol=0)
    assert states[0][".agent.paid"] == states[1][".agent.paid"]
    assert (numbers(straight)["bonus/mean"] > 0) == (name != "none")


def test_a_bonus_is_a_role_with_roles_of_its_own() -> None:
    words = "wander env:atari bonus:pseudo-count bonus.density:pixel-cnn --bonus.form gain".split()
    _, [experiment], _ = parse_experiment([*words, "--game", "venture", "--bonus.scale", "0.5"])
    assert experiment.bonus == PseudoCountConfig(PixelCNNConfig(), form="gain", scale=0.5)
    assert experiment.env == AtariConfig("venture")
    assert {"bonus", "bonus.density"} <= dict(roles(experiment)).keys()
    words = "wander bonus:simhash env:deep-sea --env.size 9".split()
    _, [simple], _ = parse_experiment(words)
    assert (simple.bonus, simple.env) == (SimHashConfig(), DeepSeaConfig(9))


def test_episodic_control_refuses_a_bonus_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "episodic", "env:catch", "bonus:simhash", *QUIET]) == 2
    said = capsys.readouterr().err
    assert "Episodic takes no bonus: a maximum over returns never forgets a bonus" in said
    assert "bonus:none" in said
    with pytest.raises(UsageError, match="takes no bonus"):
        choose_all(WANDER, ["bonus:surprise", "agent:episodic"])
    assert choose_all(WANDER, ["agent:episodic"]).agent == PRESETS["episodic"].agent


def test_a_run_stops_where_a_density_loses_its_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the step and the component named, status 1, and the checkpoint as it was."""
    words = ["train", "wander", "bonus:pseudo-count", "--folder", str(tmp_path / "run"), *QUIET]
    assert cli.main([*words, "--steps", "400"]) == 0
    checkpoint = (tmp_path / "run" / "checkpoints" / f"{400:012d}.pt").read_bytes()
    observe = CTS.observe

    def broken(self: CTS, x: Tensor) -> tuple[Tensor, Tensor]:
        before, after = observe(self, x)
        return before, after * (torch.nan if self.frames > 600 else 1)

    monkeypatch.setattr(CTS, "observe", broken)
    assert cli.main([*words, "--steps", "2000"]) == 1
    said = capsys.readouterr().err
    assert "The run stopped at agent step 6" in said
    assert "CTS density's log-probability after learning a frame came out as nan" in said
    assert "The checkpoint of step 400 in" in said
    assert (tmp_path / "run" / "checkpoints" / f"{400:012d}.pt").read_bytes() == checkpoint
    monkeypatch.undo()
    monkeypatch.setitem(PRESETS, "wander", WANDER)
    assert cli.main([*words, "--steps", "2000"]) == 0, "the same command continues once mended"


def test_rooms_and_keys_are_rows_of_a_run_and_continue(tmp_path: Path) -> None:
    env = AtariConfig("montezuma_revenge", PROTOCOLS["machado"])
    experiment = replace(WANDER, env=env, streams=2, steps=400)
    straight = train(experiment, tmp_path / "straight", OPTIONS)
    train(replace(experiment, steps=260), tmp_path / "halved", OPTIONS)
    halved = train(experiment, tmp_path / "halved", OPTIONS)
    assert numbers(straight) == numbers(halved)
    assert numbers(straight)["visits/rooms"] == 1
    assert numbers(straight)["visits/keys"] == 0
