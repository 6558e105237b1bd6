"""Tests of bonuses in a run: selected by name, added to the reward, resumed, stopped at nan."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.episodic_novelty import EpisodicNoveltyConfig
from reverie.agents.bonuses.exemplar import ExemplarConfig
from reverie.agents.bonuses.rnd import RNDConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.dqn import DQNConfig
from reverie.agents.interface import Agent, AgentConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec, Metrics, Transition
from reverie.experiments.cli import main as cli
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.registry import AGENTS, BONUSES
from reverie.experiments.config.roles import choose_all, roles
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.command_line import parse_experiment
from reverie.experiments.sessions.options import TrainOptions
from reverie.experiments.sessions.throughput import without_machine_metrics
from reverie.experiments.training.train import train
from reverie.world_models.density.cts import CTS
from reverie.world_models.density.pixelcnn import PixelCNNConfig

from sample_models import flat

OPTIONS = TrainOptions(device="cpu", threads=1, log_every=200, random_play_seconds=0, quiet=True)
QUIET = ["--quiet", "--random-play-seconds", "0", "--device", "cpu", "--threads", "1"]


@dataclass(frozen=True)
class WandererConfig(AgentConfig):
    """A random policy that sums up its bonuses."""

    def build(self, spec: EnvSpec, *, seed: int = 0, **settings: Any) -> Agent:
        return Wanderer(spec.num_actions, seed)


class Wanderer(RandomPolicy):
    total_bonus = 0.0

    def learn(self, t: Transition) -> Metrics:
        assert not t.bonus[~t.valid].any()
        object.__setattr__(self, "total_bonus", self.total_bonus + float(t.bonus.sum()))
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"total_bonus": self.total_bonus}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "total_bonus", state["total_bonus"])


WANDER = Experiment(WandererConfig(), CatchConfig(), total_timesteps=1200, num_envs=4, seed=3)


@pytest.fixture(autouse=True)
def wander(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    register_wanderer(monkeypatch)


def register_wanderer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENTS, "wander", WandererConfig)
    monkeypatch.setitem(PRESETS, "wander", WANDER)


def last_metrics(run: Run) -> dict[str, float]:
    return without_machine_metrics(run.read_lines("metrics.jsonl")[-1])


@pytest.mark.parametrize("name", BONUSES)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    experiment = replace(WANDER, bonus=BONUSES[name]())
    uninterrupted = train(experiment, tmp_path / "uninterrupted", OPTIONS)
    train(replace(experiment, total_timesteps=520), tmp_path / "resumed", OPTIONS)
    resumed = train(experiment, tmp_path / "resumed", OPTIONS)
    assert last_metrics(uninterrupted) == last_metrics(resumed)
    states = [flat(run.checkpoints.load()) for run in (uninterrupted, resumed)]
    bonuses = [{k: v for k, v in state.items() if ".bonus" in k} for state in states]
    torch.testing.assert_close(*bonuses, rtol=0, atol=0)
    assert states[0][".agent.total_bonus"] == states[1][".agent.total_bonus"]
    assert (last_metrics(uninterrupted).get("bonus/mean", 0) > 0) == (name != "none")
    assert ("bonus/mean" in last_metrics(uninterrupted)) == (name != "none")


def test_a_bonus_is_selected_as_a_role_with_roles_of_its_own() -> None:
    argv = "wander env:atari bonus:pseudo-count bonus.density:pixel-cnn --bonus.form gain".split()
    _, [experiment], _ = parse_experiment([*argv, "--game", "venture", "--bonus.scale", "0.5"])
    assert experiment.bonus == PseudoCountConfig(PixelCNNConfig(), form="gain", scale=0.5)
    assert experiment.env == AtariConfig("venture")
    assert {"bonus", "bonus.density"} <= dict(roles(experiment)).keys()
    argv = "wander bonus:simhash env:deep-sea --env.size 9".split()
    _, [simple], _ = parse_experiment(argv)
    assert (simple.bonus, simple.env) == (SimHashConfig(), DeepSeaConfig(9))


def test_episodic_control_refuses_a_bonus_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["train", "mfec", "env:catch", "bonus:simhash", *QUIET]) == 2
    error = capsys.readouterr().err
    assert "The agent MFEC takes no bonus: its maximum over returns keeps a bonus" in error
    assert "bonus:none" in error
    with pytest.raises(UsageError, match="takes no bonus"):
        choose_all(WANDER, ["bonus:surprise", "agent:mfec"])
    assert choose_all(WANDER, ["agent:mfec"]).agent == PRESETS["mfec"].agent


def test_a_run_stops_when_a_log_probability_is_nan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The error names the step and the component, the status is 1, the checkpoint is unchanged."""
    argv = ["train", "wander", "bonus:pseudo-count", "--folder", str(tmp_path / "run"), *QUIET]
    assert cli.main([*argv, "--total-timesteps", "400"]) == 0
    checkpoint = (tmp_path / "run" / "checkpoints" / f"{400:012d}.pt").read_bytes()
    observe = CTS.observe

    def broken(self: CTS, x: Tensor) -> tuple[Tensor, Tensor]:
        before, after = observe(self, x)
        return before, after * (torch.nan if self.num_frames > 600 else 1)

    monkeypatch.setattr(CTS, "observe", broken)
    assert cli.main([*argv, "--total-timesteps", "2000"]) == 1
    error = capsys.readouterr().err
    assert "The run stopped at step 6" in error
    assert "CTS density's log-probability after learning a frame is nan" in error
    assert "The checkpoint of step 400 in" in error
    assert (tmp_path / "run" / "checkpoints" / f"{400:012d}.pt").read_bytes() == checkpoint
    monkeypatch.undo()
    register_wanderer(monkeypatch)
    assert cli.main([*argv, "--total-timesteps", "2000"]) == 0, "the same command continues"


@pytest.mark.parametrize(
    "bonus",
    [
        RNDConfig(5.0, learning_rate=3e-4, update_every=128, update_proportion=1.0),
        ExemplarConfig(scale=0.03),
        EpisodicNoveltyConfig(scale=1e-3),
    ],
    ids=["rnd", "exemplar", "episodic"],
)
def test_a_learned_bonus_lets_an_agent_solve_a_small_deep_sea(bonus: BonusConfig) -> None:
    """Size 5 is solved without a bonus too: the bonus must not hide the reward from the agent."""
    agent_config = DQNConfig(
        network=MLPConfig((32,)), exploration_steps=2_000, end_epsilon=0.01, learning_starts=200,
        buffer_size=10_000, learning_rate=2e-3, target_network_frequency=200,
    )  # fmt: skip
    envs = BatchedEnv(DeepSeaConfig(5).build(8), seed=0)
    agent, paid = agent_config.build(envs.spec, seed=0), bonus.build(envs.spec, seed=0)
    scores: list[float] = []
    for t in islice(interact(envs, agent), 350):
        agent.learn(t.with_bonus(paid(t)))
        scores += t.next_step.reward[t.next_step.last].tolist()
    assert sum(x > 0.5 for x in scores[-100:]) > 50
