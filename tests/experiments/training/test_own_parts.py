"""Parts of users in training: what the protocols allow, and what is refused before it does harm."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reverie import Callback, Experiment, train
from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.go_explore import GoExploreConfig
from reverie.envs import prng
from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.interface import Carry, EnvSpec, Transition
from reverie.experiments.config.registry import BONUSES
from reverie.experiments.sessions.command_line import parse_experiment
from reverie.world_models.interface import PlannerConfig, PlannerOutput
from reverie.world_models.planning import PLANNERS
from reverie.world_models.state import HasState

from sample_agents import OPTIONS, SMALL_CATCH, SMALL_PPO


@pytest.fixture(autouse=True)
def _tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BONUSES, "own-mean", MeanConfig)
    monkeypatch.setitem(PLANNERS, "own-repeat", RepeatConfig)


class Mean(HasState):
    """A bonus with a state of a type that depends on the test."""

    STATE = ("mean",)

    def __init__(self, first: Any, update: Callable[[Any], Any], bonus: float) -> None:
        self.mean, self.update, self.bonus = first, update, bonus

    def __call__(self, t: Transition) -> Tensor:
        self.mean = self.update(self.mean)
        return torch.full_like(t.next_step.discount, self.bonus)


@dataclass(frozen=True)
class MeanConfig(BonusConfig):
    kind: str = "plain"

    def build(self, spec: EnvSpec, **options: Any) -> Mean:
        if self.kind == "array":
            return Mean(np.zeros(3), lambda x: x, 0.0)
        if self.kind == "scalar":  # only an update makes it one of numpy
            return Mean(0.0, lambda x: np.float64(x), 0.0)
        if self.kind == "object":
            return Mean(object(), lambda x: x, 0.0)
        return Mean(0.0, lambda x: x, float("nan") if self.kind == "nan" else 0.5)


EXPERIMENT = Experiment(SMALL_PPO, SMALL_CATCH, total_timesteps=64, num_envs=4)


@pytest.mark.parametrize(("kind", "begun"), [("array", False), ("object", False), ("scalar", True)])
def test_a_state_that_no_checkpoint_gives_back_is_refused(
    kind: str, begun: bool, tmp_path: Path
) -> None:
    """As early as it can be known: torch saves it, and refuses to load it."""
    experiment = replace(EXPERIMENT, bonus=MeanConfig(kind))
    with pytest.raises(UsageError, match=r"The (state\.)?bonus\.mean is a .* HasState"):
        train(experiment, tmp_path / "run", OPTIONS)
    assert (tmp_path / "run" / "config.json").exists() == begun
    assert not list((tmp_path / "run").glob("checkpoints/*.pt"))


def test_the_state_of_a_callback_is_checked_too(tmp_path: Path) -> None:
    class Counts(Callback):
        STATE = ("counts",)
        counts = np.zeros(2)

    with pytest.raises(UsageError, match=r"Counts\.counts is a numpy\.ndarray"):
        train(EXPERIMENT, tmp_path / "run", OPTIONS, [Counts()])


def test_a_bonus_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(NumericalError, match=r"The bonus Mean is nan\."):
        train(replace(EXPERIMENT, bonus=MeanConfig("nan")), tmp_path / "run", OPTIONS)


class Repeat(nn.Module):
    """A planner that returns its own part of the carry alone."""

    context_size = 0

    def __init__(self, features: int, num_actions: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, num_actions)

    def initial(self, n: int) -> Carry:
        return {name: torch.zeros(n, dtype=torch.int64) for name in ("age", "action")}

    def context(self, carry: Carry, first: Tensor) -> Tensor:
        return torch.zeros(len(first), 0)

    def advance(
        self, features: Tensor, carry: Carry, first: Tensor, decision: Tensor | None = None
    ) -> tuple[Tensor, Carry, PlannerOutput]:
        fresh = first | (carry["age"] == 0)
        logits = self.head(features)
        fixed = torch.full_like(logits, -1e4).scatter(1, carry["action"][:, None], 0.0)
        zero, age = torch.zeros(len(first)), torch.where(fresh, 1, 0)
        output = PlannerOutput(zero, zero, fresh.long(), zero, replanned=fresh, decides=fresh)
        return torch.where(fresh[:, None], logits, fixed), {"age": age}, output


@dataclass(frozen=True)
class RepeatConfig(PlannerConfig):
    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> Repeat:
        with prng.seeded(seed):
            return Repeat(features, num_actions)


def test_a_planner_returns_what_it_changes_of_the_carry(tmp_path: Path) -> None:
    class Actions(Callback):
        changed = 0

        def on_transition(self, t: Transition, step: int) -> None:
            kept = t.carry["age"].bool() & ~t.step.first  # not a new action
            assert torch.equal(t.action[kept], t.carry["action"][kept])
            self.changed += int((t.action != t.carry["action"]).sum())

    actions = Actions()
    agent = replace(SMALL_PPO, planner=RepeatConfig())
    run = train(replace(EXPERIMENT, agent=agent), tmp_path / "run", OPTIONS, [actions])
    assert run.finished
    assert actions.changed


def test_a_chosen_part_may_need_the_run_to_start_from() -> None:
    argv = ["go-explore", "env:catch", "agent.representation:vae"]
    with pytest.raises(UsageError, match="add --init-from RUN"):
        parse_experiment(argv)
    for flag in (["--init-from", "runs/fit"], ["--init-from=runs/fit"]):
        _, (experiment,), _ = parse_experiment([*argv, *flag])
        assert experiment.init_from == Path("runs/fit")
        assert isinstance(experiment.agent, GoExploreConfig)


def test_a_part_in_place_of_a_preset_is_told_from_a_name_mistyped() -> None:
    with pytest.raises(UsageError, match=r"name the preset before it, .* dqn agent:thompson"):
        parse_experiment(["agent:thompson", "env:catch"])


def test_an_import_that_fails_names_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "divides.py").write_text("x = 1\ny = x / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"division by zero \(divides\.py, line 2\)"):
        parse_experiment(["dqn", "--import", "divides"])
