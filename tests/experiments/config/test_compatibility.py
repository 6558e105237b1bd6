"""Every two parts of different roles: trained together for a few updates, or refused.

Of experiments whose configs have the same classes throughout, as with rssm and small-rssm, one is
trained.
"""

from dataclasses import fields, is_dataclass, replace
from itertools import islice
from typing import Any

import pytest
import torch

from reverie.agents.bonuses.bonus import NoBonusConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.experiments.config.compatibility import Combination, compatibility
from reverie.experiments.config.registry import AGENTS, BONUSES
from reverie.world_models.planning import PLANNERS
from reverie.world_models.prediction import PREDICTORS
from reverie.world_models.prediction.curriculum import CurriculumConfig
from reverie.world_models.representation import REPRESENTATIONS

COMBINATIONS = list(compatibility())
FITTING = [x for x in COMBINATIONS if x.experiment]


def classes(config: Any) -> tuple[Any, ...]:
    """Return the class of a config, and the classes of its parts."""
    parts = (getattr(config, field.name) for field in fields(config))
    return (type(config), *(classes(x) for x in parts if is_dataclass(x)))


DISTINCT = {classes(x.experiment): x for x in reversed(FITTING)}
SHORT: dict[str, Any] = {
    "fit_after": 40, "fit_updates": 8, "fit_batch_size": 8, "num_neighbors": 3, "capacity": 500,
    "buffer_size": 1000, "learning_starts": 40, "exploration_steps": 100, "batch_size": 8,
    "monte_carlo_weight": 0.0,
    "num_steps": 16, "bptt_length": 8, "update_epochs": 1, "num_minibatches": 2,
    "model_buffer_size": 1000, "model_learning_starts": 60, "imagination_envs": 4,
    "imagination_every": 40, "samples": 4, "horizon": 3, "trajectory_length": 4,
    "network": MLPConfig((16,)), "latent": 4, "size": "tiny", "maps": 4, "blocks": 1,
    "length": 8, "filters": 3, "hidden": (16,) * 4, "hidden_units": 16, "deter": 16, "units": 16,
    "segment_length": 6,
}  # fmt: skip
"""Settings of a run of a few updates, by the name of the field."""
TIMESTEPS = 24
"""Of four envs; every agent has learned by then."""


def shortened(config: Any) -> Any:
    """Return a config with the settings of ``SHORT``, in all its parts."""
    changes: dict[str, Any] = {}
    if isinstance(config, CurriculumConfig):
        changes = {
            "horizons": (1,), "learning_rates": (1e-4,), "batch_sizes": (4,), "updates": (1,)
        }  # fmt: skip
    for field in fields(config):
        value = getattr(config, field.name)
        short = SHORT.get(field.name)
        same_kind = isinstance(value, type(short)) or (is_dataclass(value) and is_dataclass(short))
        if short is not None and same_kind:
            changes[field.name] = short
        elif is_dataclass(value):
            changes[field.name] = shortened(value)
    return replace(config, **changes)


def test_every_agent_is_combined_with_every_part_of_the_roles_that_it_has() -> None:
    parts = {x.parts for x in COMBINATIONS}
    assert {(f"agent:{a}", f"bonus:{b}") for a in AGENTS for b in BONUSES} <= parts
    assert {("agent:ppo", f"agent.planner:{x}") for x in PLANNERS} <= parts
    assert {("agent:mfec", f"agent.representation:{x}") for x in REPRESENTATIONS} <= parts
    for agent in ("dyna", "mpc", "informed"):
        assert {(f"agent:{agent}", f"agent.predictor:{x}") for x in PREDICTORS} <= parts
    assert {(f"bonus:{b}", f"agent.planner:{x}") for b in BONUSES for x in PLANNERS} <= parts


def test_what_is_refused_is_refused_for_a_reason_that_names_a_remedy() -> None:
    refused = [x for x in COMBINATIONS if x.experiment is None]
    assert refused
    for combination in refused:
        assert "hoose" in combination.refusal, combination
    with_bonus = [x for x in FITTING if not isinstance(x.experiment.bonus, NoBonusConfig)]  # type: ignore[union-attr]
    assert len(with_bonus) > 20


@pytest.mark.long
@pytest.mark.parametrize("combination", DISTINCT.values(), ids=lambda x: " ".join(x.parts))
def test_parts_that_fit_train_together(combination: Combination) -> None:
    experiment = combination.experiment
    assert experiment is not None
    envs = BatchedEnv(
        experiment.env.build(experiment.num_envs),
        seed=0,
        snapshots=bool(experiment.needs_snapshots),
    )
    agent = shortened(experiment.agent).build(envs.spec, seed=0)
    bonus = shortened(experiment.bonus).build(envs.spec, seed=0)
    before = {name: x.clone() for name, x in tensors(agent.state_dict())}
    metrics: dict[str, Any] = {}
    for t in islice(interact(envs, agent), TIMESTEPS):
        t = t.with_bonus(bonus(t))
        metrics |= agent.learn(t)
    assert all(torch.as_tensor(x).isfinite().all() for x in metrics.values()), metrics
    after = dict(tensors(agent.state_dict()))
    assert any(
        name not in before or x.shape != before[name].shape or not torch.equal(x, before[name])
        for name, x in after.items()
    ), "nothing was learned"
    restored = shortened(experiment.agent).build(envs.spec, seed=1)
    restored.load_state_dict(agent.state_dict())
    for name, x in tensors(restored.state_dict()):
        assert torch.equal(x, after[name]), name


def tensors(state: Any, prefix: str = "") -> Any:
    """Yield the tensors of a state with their paths."""
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        for name, value in items:
            yield from tensors(value, f"{prefix}.{name}")
    elif isinstance(state, torch.Tensor):
        yield prefix, state
