"""Laws of every planner in the table, and STRAW's Algorithm 1 by hand."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.envs import prng
from reverie.envs.errors import UsageError
from reverie.envs.interface import Carry
from reverie.world_models.interface import Planner, PlannerConfig, PlannerOutput
from reverie.world_models.planning import PLANNERS
from reverie.world_models.planning.figar import FiGARConfig
from reverie.world_models.planning.straw import STRAWConfig, STRAWeConfig, shift

from sample_models import planner_features

FEATURES, ACTIONS, NUM_ENVS = 6, 4, 8

EXAMPLES: dict[str, PlannerConfig] = {
    "figar": FiGARConfig(max_repetitions=5),
    "straw": STRAWConfig(length=12, filters=3, hidden=8),
    "strawe": STRAWeConfig(length=12, filters=3, hidden=8, code=5, prior="learned"),
}
"""Small planners; one without an entry is tested with its defaults."""

CONFIGS = [EXAMPLES.get(name, kind()) for name, kind in PLANNERS.items()]
each = pytest.mark.parametrize("config", CONFIGS, ids=list(PLANNERS))
each_straw = pytest.mark.parametrize(
    "config", [EXAMPLES["straw"], EXAMPLES["strawe"]], ids=["straw", "strawe"]
)


def build(config: PlannerConfig, seed: int = 0) -> Any:
    """Return a planner with perturbed weights, so that its outputs depend on the features."""
    width = features_of(config, 1).shape[2]
    planner: Any = config.build(features=width, num_actions=ACTIONS, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for x in planner.parameters():
            x.add_(0.3 * torch.randn(x.shape, generator=generator))
    return planner


def random_features(timesteps: int, n: int = NUM_ENVS, seed: int = 1) -> Tensor:
    return torch.randn(timesteps, n, FEATURES, generator=torch.Generator().manual_seed(seed))


def features_of(config: PlannerConfig, timesteps: int, seed: int = 1) -> Tensor:
    return planner_features(config, timesteps, NUM_ENVS, seed, width=FEATURES)


def mask(n: int = NUM_ENVS, *envs: int) -> Tensor:
    return torch.tensor([i in envs for i in range(n)])


def start(planner: Planner, n: int = NUM_ENVS, seed: int = 0) -> Carry:
    zeros = torch.zeros(n, dtype=torch.int64)
    return planner.initial(n) | {
        "rng": prng.initial_rng(seed, prng.Purpose.TRAIN, n),
        "action": zeros,
        "age": zeros,
    }


def unroll(
    planner: Planner, features: Tensor, carry: Carry, resets: dict[int, int] | None = None
) -> Iterator[tuple[Tensor, Carry, PlannerOutput, Carry]]:
    """Yield logits, carry, output and next carry per timestep; resets map timesteps to envs.

    The carries also hold the ``age`` of plans, in timesteps since they were made.
    """
    n = features.shape[1]
    for timestep, x in enumerate(features):
        first = mask(n, *([resets[timestep]] if resets and timestep in resets else []))
        logits, next_carry, output = planner.advance(x, carry, first | (timestep == 0))
        action = prng.categorical(logits.detach(), carry["rng"])
        next_carry = next_carry | {"rng": prng.next_rng(carry["rng"]), "action": action}
        if output.replanned is not None:
            next_carry["age"] = torch.where(output.replanned, 0, carry["age"] + 1)
        yield logits, carry, output, next_carry
        carry = next_carry


def planner_keys(carry: Carry) -> set[str]:
    """Return the keys that the planner sets, without those of the agent."""
    return carry.keys() - {"action", "rng", "age"}


def equal(a: Carry, b: Carry) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a.keys() | b.keys())


@each
def test_it_is_a_planner_and_its_shapes(config: PlannerConfig) -> None:
    planner, features = build(config), features_of(config, 5)
    assert isinstance(planner, Planner)
    for logits, before, output, next_carry in unroll(planner, features, start(planner)):
        assert logits.shape == (NUM_ENVS, ACTIONS)
        assert torch.isfinite(logits).all()
        assert all(x.shape == (NUM_ENVS,) for x in (output.kl, output.log_prob))
        assert (output.kl >= 0).all()
        assert ((output.replan_prob >= 0) & (output.replan_prob <= 1)).all()
        assert (output.log_prob <= 0).all()
        shapes = [{name: (x.shape, x.dtype) for name, x in m.items()} for m in (before, next_carry)]
        assert shapes[0] == shapes[1], "a carry commits its shapes and dtypes"


@each
def test_one_seed_is_one_planner(config: PlannerConfig) -> None:
    width = features_of(config, 1).shape[2]
    a, b, c = (config.build(features=width, num_actions=ACTIONS, seed=s) for s in (1, 1, 2))
    assert equal(a.state_dict(), b.state_dict())
    assert equal(a.state_dict(), c.state_dict()) == config.needs_privileged


@each
def test_advance_is_a_pure_function_of_the_carry(
    config: PlannerConfig,
) -> None:
    """Draws depend on the carry's rng, not on global generators; the carry is not changed."""
    planner = build(config)
    for timestep, (logits, before, output, next_carry) in enumerate(
        unroll(planner, features_of(config, 12), start(planner))
    ):
        torch.manual_seed(timestep)
        copied = {name: x.clone() for name, x in before.items()}
        first = mask() | (timestep == 0)
        repeated_logits, carry, repeated = planner.advance(
            features_of(config, 12)[timestep], before, first
        )
        assert torch.equal(logits, repeated_logits)
        assert all(torch.equal(carry[name], next_carry[name]) for name in planner_keys(carry))
        assert torch.equal(repeated.kl, output.kl)
        assert equal(before, copied)


@each
def test_environments_are_independent(config: PlannerConfig) -> None:
    """Half of the batch has the outputs that it has within the whole batch."""
    planner, features, carry = build(config), features_of(config, 12), start(build(config))
    half = {name: x[2:6] for name, x in carry.items()}
    resets = {5: 3}
    whole = list(unroll(planner, features, carry, resets))
    part = list(unroll(planner, features[:, 2:6], half, {5: 1}))
    for (a, *_, x), (b, *_, y) in zip(whole, part, strict=True):
        torch.testing.assert_close(a[2:6], b, rtol=1e-4, atol=1e-5)
        for name in x:
            torch.testing.assert_close(x[name][2:6], y[name], rtol=1e-4, atol=1e-5)


@each
def test_first_resets_the_carry(config: PlannerConfig) -> None:
    """At ``first`` outputs are those of the initial carry."""
    planner, features = build(config), features_of(config, 7)
    *_, (_, _, _, carry) = unroll(planner, features, start(planner))
    fresh = start(planner) | {"rng": carry["rng"]}
    first = torch.ones(NUM_ENVS, dtype=torch.bool)
    a, next_carry_a, output_a = planner.advance(features[0], carry, first)
    b, next_carry_b, output_b = planner.advance(features[0], fresh, first)
    assert torch.equal(a, b)
    assert torch.equal(output_a.kl, output_b.kl)
    names = planner_keys(next_carry_a)
    assert all(torch.equal(next_carry_a[name], next_carry_b[name]) for name in names)


@each
def test_its_context_describes_the_plan_before_the_decision(config: PlannerConfig) -> None:
    """It is bounded, 0 for an empty plan, and of the plan that ``advance`` is about to keep."""
    planner = build(config)
    nonzero = 0
    for timestep, (_, before, _, _) in enumerate(
        unroll(planner, features_of(config, 8), start(planner))
    ):
        first = mask() | (timestep == 0)
        context = planner.context(before, first)
        assert context.shape == (NUM_ENVS, planner.context_size)
        assert (context.abs() <= 1).all()
        nonzero += int(context.any(1).sum())
        empty = planner.context(before, mask() | True)
        torch.testing.assert_close(empty, torch.zeros_like(empty))
        other_decision = before | {"rng": prng.next_rng(before["rng"])}
        assert torch.equal(context, planner.context(other_decision, first))
    assert (nonzero > 0) == (planner.context_size > 0)


@each
def test_unrolling_with_gradients_is_bit_identical(
    config: PlannerConfig,
) -> None:
    planner, features, resets = build(config), features_of(config, 20), {4: 2, 9: 2, 13: 7}
    with torch.no_grad():
        acted = list(unroll(planner, features, start(planner), resets))
    learned = list(unroll(planner, features, start(planner), resets))
    for (a, _, x, carry_a), (b, _, y, carry_b) in zip(acted, learned, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(x.kl, y.kl)
        assert torch.equal(x.replan_prob, y.replan_prob)
        assert equal(carry_a, carry_b)
    assert learned[-1][0].requires_grad != config.needs_privileged


@each
def test_gradients_reach_every_parameter(config: PlannerConfig) -> None:
    planner = build(config)
    loss: Any = torch.zeros((), requires_grad=True)
    for logits, _, output, _ in unroll(planner, features_of(config, 20), start(planner)):
        loss = loss + logits.log_softmax(1)[:, 0].sum() + output.log_prob.sum()
        loss = loss + output.kl.sum() + output.replan_prob.sum()
    loss.backward()
    for name, x in planner.named_parameters():
        assert x.grad is not None, name
        assert torch.isfinite(x.grad).all(), name
        assert x.grad.any(), name


@each
def test_a_committed_plan_ignores_features_and_costs_nothing(config: PlannerConfig) -> None:
    planner, features, other_features = (
        build(config),
        features_of(config, 30),
        features_of(config, 30, seed=9),
    )
    committed = replanned = 0
    for timestep, (logits, before, output, next_carry) in enumerate(
        unroll(planner, features, start(planner))
    ):
        commits = next_carry["age"] > 0
        committed += int(commits.sum())
        assert (output.kl[commits] == 0).all()
        assert (output.log_prob[commits] == 0).all()
        other_logits, other_carry, _ = planner.advance(
            other_features[timestep], before, mask() | (timestep == 0)
        )
        assert torch.equal(other_logits[commits], logits[commits])
        replanned += int((other_logits != logits).any(1)[~commits].sum())
        for name in planner_keys(other_carry):
            assert torch.equal(other_carry[name][commits], next_carry[name][commits])
    assert (committed > 10) == (output.replanned is not None)
    assert replanned > 20, "replanning depends on the features"


def test_a_state_survives_a_round_trip() -> None:
    for config in CONFIGS:
        a, b = build(config, 1), build(config, 2)
        b.load_state_dict(a.state_dict())
        carry = start(a)
        first = mask() | True
        logits = [p.advance(features_of(config, 1)[0], carry, first)[0] for p in (a, b)]
        assert torch.equal(logits[0], logits[1])


# STRAW.


@each_straw
def test_a_plan_shifts_by_one_position_per_timestep_until_it_is_exhausted(
    config: STRAWConfig,
) -> None:
    """With replanning probability 0 the planner replans after T timesteps, due to the padding."""
    planner = build(config)
    with torch.no_grad():
        planner.commitment_params.weight.zero_()
        planner.replan_bias.fill_(-200.0)  # outweighs the peak of 40
    timesteps = list(unroll(planner, random_features(2 * config.length + 1), start(planner)))
    ages = torch.stack([next_carry["age"] for *_, next_carry in timesteps])
    assert torch.equal(
        ages, (torch.arange(len(timesteps)) % config.length)[:, None].expand_as(ages)
    )
    initial_plan = timesteps[0][3]["plan"]
    for timestep in range(1, config.length):
        logits, before, _, next_carry = timesteps[timestep]
        assert torch.equal(logits, initial_plan[:, :, timestep])
        assert torch.equal(next_carry["plan"], shift(before["plan"], 0.0))
        assert torch.equal(next_carry["replan_prob"], shift(before["replan_prob"], 1.0))
        assert (next_carry["plan"][:, :, -timestep:] == 0).all()
        assert (next_carry["replan_prob"][:, -timestep:] == 1).all()


@each_straw
def test_a_plan_of_one_position_is_reactive(config: STRAWConfig) -> None:
    """It replans at every timestep, and its logits depend on the present features only."""
    planner = build(replace(config, length=1, filters=1))
    carry = start(planner)
    for timestep, (logits, before, output, next_carry) in enumerate(
        unroll(planner, random_features(10), carry)
    ):
        assert (next_carry["age"] == 0).all()
        assert (output.replan_prob == 1).all()
        fresh = start(planner) | {"rng": before["rng"]}
        assert torch.equal(logits, planner.advance(random_features(10)[timestep], fresh, mask())[0])


def test_algorithm_1_by_hand() -> None:
    """One timestep with one action, one filter at position 1 only, and linear layers."""
    planner: Any = STRAWConfig(length=3, filters=1, hidden=1, initial_replan_logit=-0.5).build(
        features=1, num_actions=1
    )
    narrow = torch.tensor([0.0, 0.0, -20.0, 0.0])  # the middle of three positions, gain 1
    with torch.no_grad():
        for x in planner.parameters():
            x.zero_()
        planner.replan_bias.fill_(-0.5)
        planner.attention_params.bias.copy_(narrow)
        planner.commitment_params.bias.copy_(narrow)
        planner.hidden_layers[0].weight.fill_(1.0)  # xi = relu(beta + z)
        planner.hidden_layers[2].weight.fill_(1.0)
        planner.plan_update.weight.fill_(2.0)
    carry = start(planner, 1) | {
        "plan": torch.tensor([[[1.0, 5.0, 7.0]]]),
        "replan_prob": torch.tensor([[0.4, 1.0, 0.3]]),
    }
    logits, next_carry, output = planner.advance(torch.tensor([[4.0]]), carry, mask(1))
    assert logits.tolist() == [[5.0]]
    assert next_carry["plan"].tolist() == [[[5, 7 + 2 * (7 + 4), 0]]]
    commitment = torch.sigmoid(torch.tensor([-0.5, -0.5 + 40, -0.5])).tolist()
    assert next_carry["replan_prob"].tolist() == [commitment]
    assert output.replan_prob.tolist() == commitment[1:2]
    assert output.window.tolist() == [[0, 1, 0]]
    assert output.replanned.tolist() == [True]
    committed = carry | {"replan_prob": torch.tensor([[0.4, 0.0, 0.3]])}
    logits, next_carry, output = planner.advance(torch.tensor([[4.0]]), committed, mask(1))
    assert logits.tolist() == [[5.0]]
    assert next_carry["plan"].tolist() == [[[5, 7, 0]]]
    assert next_carry["replan_prob"].tolist() == torch.tensor([[0.0, 0.3, 1.0]]).tolist()
    assert output.replan_prob.tolist() == torch.tensor([0.3]).tolist()


def test_the_gradient_of_the_gate_is_that_of_its_probability() -> None:
    """dL/dc = sum of dL/dA times the plan's update, and of dL/dc' times (new - shifted)."""
    config = STRAWConfig(length=5, filters=2, hidden=4)
    planner = build(config)
    replan_prob = torch.full((NUM_ENVS, 5), 0.5, requires_grad=True)
    plan = torch.randn(NUM_ENVS, ACTIONS, 5, generator=torch.Generator().manual_seed(0))
    carry = start(planner) | {"plan": plan, "replan_prob": replan_prob}
    logits, _, output = planner.advance(random_features(1)[0], carry, mask())
    logits.square().sum().backward()
    assert replan_prob.grad is not None
    replanned = output.replanned
    assert replanned is not None
    assert 0 < int(replanned.sum()) < NUM_ENVS

    always = carry | {"replan_prob": torch.ones(NUM_ENVS, 5)}
    update = planner.advance(random_features(1)[0], always, mask())[0] - plan[:, :, 1]
    torch.testing.assert_close(replan_prob.grad[:, 1], (2 * logits * update).sum(1).detach())
    assert (replan_prob.grad[:, [0, 2, 3, 4]] == 0).all()


def test_kl_is_that_of_the_code_at_replanning() -> None:
    planner = build(STRAWeConfig(length=6, filters=2, hidden=4, code=3))
    for timestep, (_, _, output, next_carry) in enumerate(
        unroll(planner, random_features(15), start(planner))
    ):
        mean, log_scale = planner.encoder.posterior(random_features(15)[timestep]).chunk(2, 1)
        kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        torch.testing.assert_close(output.kl, torch.where(next_carry["age"] == 0, kl, 0.0))


def test_a_learned_prior_is_initialized_to_the_standard_one() -> None:
    divergences = []
    for prior in ("standard", "learned"):
        planner = STRAWeConfig(length=6, filters=2, prior=prior).build(
            features=FEATURES, num_actions=ACTIONS
        )
        divergences.append(
            planner.advance(random_features(1)[0], start(planner), mask() | True)[2].kl
        )
    torch.testing.assert_close(divergences[0], divergences[1])


def test_a_new_planner_writes_k_timesteps_and_then_replans() -> None:
    planner = STRAWConfig(initial_replan_logit=-16.0).build(features=FEATURES, num_actions=ACTIONS)
    with torch.no_grad():
        timesteps = list(unroll(planner, random_features(45), start(planner)))
    assert timesteps[0][3]["plan"].abs().sum((0, 1))[:10].min() > 1e-3
    assert float(timesteps[0][3]["plan"][:, :, 15:].abs().max()) < 1e-6
    lengths = torch.stack([next_carry["age"] for *_, next_carry in timesteps]).max(0).values + 1
    assert ((lengths >= 8) & (lengths <= 12)).all()


# FiGAR.


def test_an_action_is_repeated_as_often_as_was_drawn() -> None:
    planner = build(FiGARConfig(max_repetitions=5))
    carry, features = start(planner), random_features(60)
    lengths = []
    for timestep in range(60):
        logits, next_carry, output = planner.advance(
            features[timestep], carry, mask() | (timestep == 0)
        )
        commits = ~output.replanned
        repeated = torch.nn.functional.one_hot(carry["action"], ACTIONS).float()
        assert torch.equal(logits.softmax(1)[commits], repeated[commits])
        log_q = planner.repetition_head(features[timestep]).log_softmax(1)
        repetitions = next_carry["remaining"][~commits]
        torch.testing.assert_close(
            output.log_prob[~commits], log_q[~commits].gather(1, repetitions[:, None])[:, 0]
        )
        torch.testing.assert_close(output.replan_prob[~commits], log_q[~commits, 0].exp())
        if timestep:
            lengths += (carry["age"][~commits] + 1).tolist()
            assert torch.equal(carry["remaining"] == 0, ~commits)
        action = (carry["action"] + 1) % ACTIONS
        age = torch.where(commits, carry["age"] + 1, 0)
        carry = next_carry | {"action": torch.where(commits, carry["action"], action), "age": age}
    assert set(lengths) == {1, 2, 3, 4, 5}


def test_an_untrained_planner_draws_every_length_with_equal_probability() -> None:
    planner = FiGARConfig(max_repetitions=6).build(features=FEATURES, num_actions=ACTIONS)
    n = 6000
    features = random_features(1, n)[0]
    _, next_carry, output = planner.advance(features, start(planner, n), torch.ones(n).bool())
    counts = torch.bincount(next_carry["remaining"], minlength=6)
    assert (counts - 1000).abs().max() < 5 * (n * 5 / 36) ** 0.5
    assert float(output.kl.detach().max()) < 0.01


# Invalid settings.


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (STRAWConfig, {"length": 5, "filters": 6}, "planner.length is 5, shorter than its 6"),
        (STRAWConfig, {"filters": 0}, "planner.filters is 0; it must be 1 or more"),
        (STRAWConfig, {"hidden": 0}, "planner.hidden is 0"),
        (STRAWeConfig, {"length": 3}, "planner.length is 3"),
        (STRAWeConfig, {"code": 0}, "planner.code is 0"),
        (STRAWConfig, {"initial_replan_logit": math.nan}, "logit is nan; it must be a finite"),
        (FiGARConfig, {"max_repetitions": 0}, "planner.max_repetitions is 0"),
    ],
)
def test_invalid_settings_are_refused(kind: Any, settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**settings)
