"""Tests of the driver: callbacks, options of training, and what the parts are built with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reverie import Experiment, train
from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.dqn import DQN
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import EnvSpec, Metrics, TimeStep, Transition
from reverie.experiments.config.registry import BONUSES
from reverie.experiments.datasets.collect import collect
from reverie.experiments.evaluation.run_evaluation import Evaluation, evaluate_run
from reverie.experiments.sessions.callbacks import Callback, Row
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.logs import Means
from reverie.experiments.training.pretrain import load_model, pretrain
from reverie.experiments.training.representations import RepresentationPretraining
from reverie.world_models.density.pixelcnn import PixelCNNConfig
from reverie.world_models.interface import PlannerConfig
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.planning.figar import FiGARConfig
from reverie.world_models.planning.reactive import ReactiveConfig
from reverie.world_models.precision import FLOAT32, Precision
from reverie.world_models.representation.variational import VariationalConfig

import sample_envs  # noqa: F401  # registers Counter-v0
from sample_agents import DQN as DQN_CONFIG
from sample_agents import OPTIONS, SMALL_PPO, metric_rows

CATCH = Experiment(DQN_CONFIG, CatchConfig(), total_timesteps=400, num_envs=4)
ROWS = replace(OPTIONS, log_every=100)


class ActionCounts(Callback):
    """Counts of all actions so far, and the events that it has seen."""

    STATE = ("counts", "updates")

    def __init__(self) -> None:
        self.counts = torch.zeros(3)
        self.updates = 0
        self.events: list[str] = []

    def on_start(self, step: int) -> None:
        self.events.append(f"start at {step} with {int(self.counts.sum())}")

    def on_transition(self, t: Transition, step: int) -> None:
        self.counts += torch.bincount(t.action, minlength=3)

    def on_metrics(self, metrics: Metrics) -> None:
        self.updates += 1

    def metrics(self) -> Metrics:
        return {"actions/all": self.counts, "actions/updates": self.updates}

    def on_row(self, row: Row) -> None:
        assert row.histograms["actions/all"].sum() == 4 * row.metrics["actions/updates"]
        self.events.append(f"row at {row.step}")

    def on_checkpoint(self) -> None:
        self.events.append("checkpoint")

    def on_end(self, step: int) -> None:
        self.events.append(f"end at {step}")

    def close(self) -> None:
        self.events.append("close")


def test_a_callback_of_the_users_own_is_logged_and_resumed(tmp_path: Path) -> None:
    first, second, whole = ActionCounts(), ActionCounts(), ActionCounts()
    train(replace(CATCH, total_timesteps=200), tmp_path / "run", ROWS, [first])
    run = train(CATCH, tmp_path / "run", ROWS, [second])
    assert first.events == [
        *("start at 0 with 0", "row at 100", "row at 200", "checkpoint", "end at 200", "close"),
    ]
    assert second.events[:2] == ["start at 200 with 200", "row at 300"]
    train(CATCH, tmp_path / "whole", ROWS, [whole])
    assert torch.equal(whole.counts, second.counts)
    assert metric_rows(tmp_path / "whole") == metric_rows(run.folder)
    assert metric_rows(run.folder)[-1]["actions/updates"] == 100
    events = EventAccumulator(str(run.folder)).Reload()
    assert "actions/all" in events.Tags()["histograms"]
    with pytest.raises(UsageError, match="Several callbacks are named ActionCounts; give each"):
        train(CATCH, tmp_path / "twice", ROWS, [ActionCounts(), ActionCounts()])


def test_a_callback_that_the_first_session_lacked_starts_with_the_second(tmp_path: Path) -> None:
    train(replace(CATCH, total_timesteps=200), tmp_path, OPTIONS)
    counts = ActionCounts()
    train(CATCH, tmp_path, replace(OPTIONS, count_states=True), [counts])
    assert counts.events[0] == "start at 200 with 0"
    assert counts.counts.sum() == 200
    assert metric_rows(tmp_path)[-1]["visits/states"] > 1


@pytest.mark.parametrize("planner", [ReactiveConfig(), FiGARConfig(max_repetitions=3)])
def test_metrics_that_are_undefined_on_a_batch_do_not_stop_training(
    planner: PlannerConfig, tmp_path: Path
) -> None:
    """Rollouts of one timestep, or of an automatic reset alone, have no variance of returns."""
    agent = replace(SMALL_PPO, planner=planner, num_steps=1, bptt_length=1, num_minibatches=1)
    experiment = Experiment(agent, CatchConfig(), total_timesteps=60, num_envs=1)
    rows = metric_rows(train(experiment, tmp_path / "run", replace(OPTIONS, log_every=20)).folder)
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert not any("losses/explained_variance" in row for row in rows)
    assert all("losses/value_loss" in row for row in rows)


def test_a_loss_that_is_not_finite_stops_training() -> None:
    for value in (torch.nan, torch.inf):
        means = Means()
        means.on_metrics({"losses/explained_variance": value, "losses/td_loss": 1.0, "a/b": 2.0})
        means.on_checkpoint()
        assert means.metrics() == {"losses/td_loss": 1.0, "a/b": 2.0}
        means.on_metrics({"losses/td_loss": torch.tensor(value)})
        with pytest.raises(NumericalError, match="losses/td_loss is"):
            means.metrics()


def test_callbacks_are_closed_after_an_error(tmp_path: Path) -> None:
    class Broken(ActionCounts):
        def on_row(self, row: Row) -> None:
            raise RuntimeError("broken")

    broken = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        train(CATCH, tmp_path, ROWS, [broken])
    assert broken.events[-1] == "close"


def test_callbacks_of_a_pretraining_are_resumed(tmp_path: Path) -> None:
    class Updates(Callback):
        STATE = ("count",)

        def __init__(self) -> None:
            self.count = 0

        def on_metrics(self, metrics: Metrics) -> None:
            self.count += 1

    collect(RandomPolicy(3), CatchConfig(), tmp_path / "data", frames=200, num_envs=4)
    job = RepresentationPretraining(
        data=(tmp_path / "data",),
        representation=VariationalConfig(VAEConfig(size=4)),
        num_updates=3,
        batch_size=4,
    )
    options = PretrainOptions(device="cpu", threads=1, quiet=True)
    pretrain(job, tmp_path / "run", options, [Updates()])
    updates = Updates()
    pretrain(replace(job, num_updates=5), tmp_path / "run", options, [updates])
    assert updates.count == 5


def test_every_part_is_built_in_the_precision_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a density in a bonus."""
    built: list[tuple[str, Precision]] = []

    def record(kind: Any) -> None:
        build = kind.build

        def recorded(self: Any, *args: Any, precision: Precision = FLOAT32, **kwargs: Any) -> Any:
            built.append((kind.__name__, precision))
            return build(self, *args, precision=precision, **kwargs)

        monkeypatch.setattr(kind, "build", recorded)

    for kind in (type(DQN_CONFIG), PixelCNNConfig, VariationalConfig):
        record(kind)
    density = PixelCNNConfig()
    experiment = replace(CATCH, bonus=PseudoCountConfig(density), total_timesteps=8)
    train(experiment, tmp_path / "run", replace(OPTIONS, precision="bf16"))
    bf16 = Precision("bf16")
    assert built == [(type(DQN_CONFIG).__name__, bf16), ("PixelCNNConfig", bf16)]
    built.clear()
    collect(RandomPolicy(3), CatchConfig(), tmp_path / "data", frames=200, num_envs=4)
    job = RepresentationPretraining(
        data=(tmp_path / "data",),
        representation=VariationalConfig(VAEConfig(size=4)),
        num_updates=1,
        batch_size=4,
    )
    options = PretrainOptions(device="cpu", threads=1, quiet=True, precision="bf16")
    load_model(pretrain(job, tmp_path / "fit", options).folder, device="cpu")
    assert built == [("VariationalConfig", bf16), ("VariationalConfig", FLOAT32)]


@dataclass(frozen=True)
class TrueStateConfig(BonusConfig):
    """A bonus for high values of the true state's first byte."""

    needs_privileged = True

    def build(self, spec: EnvSpec, **settings: Any) -> "TrueState":
        assert spec.privileged
        return TrueState()


class TrueState:
    def __call__(self, t: Transition) -> torch.Tensor:
        assert t.next_step.privileged is not None
        return t.next_step.privileged[:, 0].float()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_a_part_that_needs_the_true_state_gets_it_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in evaluation."""
    monkeypatch.setitem(BONUSES, "true-bytes", TrueStateConfig)
    experiment = Experiment(
        DQN_CONFIG, AtariConfig("pong"), TrueStateConfig(), total_timesteps=8, num_envs=2
    )
    run = train(experiment, tmp_path / "pong", OPTIONS)
    assert metric_rows(run.folder)[-1]["bonus/mean"] > 0
    act, seen = DQN.act, list[bool]()

    def record(self: DQN, step: TimeStep, *args: Any, **options: Any) -> Any:
        seen.append(step.privileged is not None)
        return act(self, step, *args, **options)

    monkeypatch.setattr(DQN, "act", record)
    short = replace(experiment.env.protocol, frames_cap=40)  # type: ignore[attr-defined]
    monkeypatch.setattr(AtariConfig, "eval_env", AtariConfig("pong", short))
    evaluate_run(run.folder, Evaluation(episodes=1), device="cpu")
    assert all(seen)
    other = replace(experiment, env=GymConfig("Counter-v0"))
    with pytest.raises(UsageError, match="In Counter-v0, bonus:true-bytes needs the true state"):
        train(other, tmp_path / "gym", OPTIONS)


def test_rooms_are_counted_in_all_envs_and_resumed(tmp_path: Path) -> None:
    options = replace(OPTIONS, count_rooms=True, log_every=100)
    montezuma = replace(CATCH, env=AtariConfig("montezuma_revenge"), num_envs=2)
    montezuma = replace(montezuma, total_timesteps=200)
    whole = train(montezuma, tmp_path / "whole", options)
    train(replace(montezuma, total_timesteps=100), tmp_path / "run", options)
    run = train(montezuma, tmp_path / "run", options)
    assert metric_rows(whole.folder) == metric_rows(run.folder)
    assert [row["visits/rooms"] for row in metric_rows(run.folder)] == [1, 1]
    assert metric_rows(run.folder)[-1]["visits/keys"] == 0
    for env, name in ((AtariConfig("pong"), "pong"), (CatchConfig(), "catch")):
        with pytest.raises(UsageError, match=f"the true state of {name} has no rooms; leave out"):
            train(replace(CATCH, env=env), tmp_path / name, options)
