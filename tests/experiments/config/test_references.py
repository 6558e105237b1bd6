"""Privileged references of a job, from its config and from what a run folder stores of it."""

from dataclasses import dataclass, replace

import pytest

from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.dqn import DQNConfig
from reverie.envs.catch import CatchConfig
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.registry import BONUSES
from reverie.experiments.config.roles import part_name, references
from reverie.experiments.config.serialization import encode


@dataclass(frozen=True)
class PrivilegedConfig(BonusConfig):
    """A bonus that reads the true state."""

    needs_privileged = True


def test_references_are_found_in_configs_and_in_stored_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BONUSES, "privileged", PrivilegedConfig)
    plain = Experiment(DQNConfig(), CatchConfig())
    job = replace(plain, bonus=PrivilegedConfig())
    assert references(job) == references(encode(job)) == {"bonus": "privileged"}
    assert job.needs_privileged
    assert references(plain) == references(encode(plain)) == {}
    assert not plain.needs_privileged


def test_a_stored_part_that_is_not_registered_is_no_reference() -> None:
    stored = encode(PRESETS["dqn"]) | {"bonus": {"class": "elsewhere:OwnConfig", "scale": 1.0}}
    assert references(stored) == {}


def test_a_stored_part_without_a_class_is_no_error() -> None:
    assert part_name({"scale": 1.0}) == "unknown"
