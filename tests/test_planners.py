"""Laws of planners, over every one in the table, and STRAW's algorithm by hand."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from envs import dice
from envs.errors import UsageError
from envs.interface import Memory
from world_models.interface import Planner, PlannerConfig, Thought
from world_models.planning import PLANNERS
from world_models.planning.action_repeat import ActionRepeatConfig
from world_models.planning.straw import STRAWConfig, STRAWeConfig, shift

FEATURES, ACTIONS, STREAMS = 6, 4, 8

EXAMPLES: dict[str, PlannerConfig] = {
    "action-repeat": ActionRepeatConfig(longest=5),
    "straw": STRAWConfig(length=12, filters=3, hidden=8),
    "strawe": STRAWeConfig(length=12, filters=3, hidden=8, code=5, prior="learned"),
}
"""Small ones; a planner without an entry is tested as it is built."""

CONFIGS = [EXAMPLES.get(name, kind()) for name, kind in PLANNERS.items()]
each = pytest.mark.parametrize("config", CONFIGS, ids=list(PLANNERS))
each_straw = pytest.mark.parametrize(
    "config", [EXAMPLES["straw"], EXAMPLES["strawe"]], ids=["straw", "strawe"]
)


def build(config: PlannerConfig, seed: int = 0) -> Any:
    """A planner whose weights were stirred, so that its thoughts depend on what it sees."""
    planner = config.build(features=FEATURES, num_actions=ACTIONS, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for x in planner.parameters():
            x.add_(0.3 * torch.randn(x.shape, generator=generator))
    return planner


def looks(ticks: int, n: int = STREAMS, seed: int = 1) -> Tensor:
    return torch.randn(ticks, n, FEATURES, generator=torch.Generator().manual_seed(seed))


def flags(n: int = STREAMS, *at: int) -> Tensor:
    return torch.tensor([stream in at for stream in range(n)])


def start(planner: Planner, n: int = STREAMS, seed: int = 0) -> Memory:
    zeros = torch.zeros(n, dtype=torch.int64)
    return planner.initial(n) | {"dice": dice.keys(seed, "train", n), "action": zeros}


def think(
    planner: Planner, features: Tensor, memory: Memory, births: dict[int, int] | None = None
) -> Iterator[tuple[Tensor, Memory, Thought, Memory]]:
    """Each tick's logits, memory before, thought and memory after; actions are drawn."""
    n = features.shape[1]
    for tick, look in enumerate(features):
        first = flags(n, *([births[tick]] if births and tick in births else []))
        logits, after, thought = planner.advance(look, memory, first | (tick == 0))
        action = dice.categorical(logits.detach(), memory["dice"])
        after = after | {"dice": dice.roll(memory["dice"]), "action": action}
        yield logits, memory, thought, after
        memory = after


def own(memory: Memory) -> set[str]:
    """What the planner itself writes, and not whoever acts."""
    return memory.keys() - {"action", "dice"}


def equal(a: Memory, b: Memory) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a.keys() | b.keys())


@each
def test_it_is_a_planner_and_its_shapes(config: PlannerConfig) -> None:
    planner = build(config)
    assert isinstance(planner, Planner)
    for logits, before, thought, after in think(planner, looks(5), start(planner)):
        assert logits.shape == (STREAMS, ACTIONS)
        assert torch.isfinite(logits).all()
        assert all(x.shape == (STREAMS,) for x in (thought.nats, thought.log_prob))
        assert (thought.nats >= 0).all()
        assert ((thought.commitment >= 0) & (thought.commitment <= 1)).all()
        assert (thought.log_prob <= 0).all()
        shapes = [{name: (x.shape, x.dtype) for name, x in m.items()} for m in (before, after)]
        assert shapes[0] == shapes[1], "a memory keeps its form"


@each
def test_one_seed_is_one_planner(config: PlannerConfig) -> None:
    a, b, c = (config.build(features=FEATURES, num_actions=ACTIONS, seed=s) for s in (1, 1, 2))
    weights = [torch.cat([x.flatten() for x in p.state_dict().values()]) for p in (a, b, c)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@each
def test_the_same_memory_is_the_same_thought_and_no_memory_is_changed(
    config: PlannerConfig,
) -> None:
    """Other global generators, other global dice: a draw depends on the stream's dice alone."""
    planner = build(config)
    for tick, (logits, before, thought, after) in enumerate(
        think(planner, looks(12), start(planner))
    ):
        torch.manual_seed(tick)
        held = {name: x.clone() for name, x in before.items()}
        first = flags() | (tick == 0)
        again, memory, cost = planner.advance(looks(12)[tick], before, first)
        assert torch.equal(logits, again)
        assert all(torch.equal(memory[name], after[name]) for name in own(memory))
        assert torch.equal(cost.nats, thought.nats)
        assert equal(before, held)


@each
def test_streams_do_not_talk(config: PlannerConfig) -> None:
    """Half of the streams alone think what they thought among all."""
    planner, features, memory = build(config), looks(12), start(build(config))
    half = {name: x[2:6] for name, x in memory.items()}
    births = {5: 3}
    whole = list(think(planner, features, memory, births))
    part = list(think(planner, features[:, 2:6], half, {5: 1}))
    for (a, *_, x), (b, *_, y) in zip(whole, part, strict=True):
        torch.testing.assert_close(a[2:6], b, rtol=1e-4, atol=1e-5)
        for name in x:
            torch.testing.assert_close(x[name][2:6], y[name], rtol=1e-4, atol=1e-5)


@each
def test_first_erases(config: PlannerConfig) -> None:
    """Born now, a stream thinks as one that has only just begun, whatever it held."""
    planner, features = build(config), looks(7)
    *_, (_, _, _, memory) = think(planner, features, start(planner))
    fresh = start(planner) | {"dice": memory["dice"]}
    born = torch.ones(STREAMS, dtype=torch.bool)
    a, following_a, thought_a = planner.advance(features[0], memory, born)
    b, following_b, thought_b = planner.advance(features[0], fresh, born)
    assert torch.equal(a, b)
    assert torch.equal(thought_a.nats, thought_b.nats)
    kept = own(following_a)
    assert all(torch.equal(following_a[name], following_b[name]) for name in kept)


@each
def test_unrolled_again_with_gradients_it_thinks_the_same_bit_for_bit(
    config: PlannerConfig,
) -> None:
    planner, features, births = build(config), looks(20), {4: 2, 9: 2, 13: 7}
    with torch.no_grad():
        acted = list(think(planner, features, start(planner), births))
    learned = list(think(planner, features, start(planner), births))
    for (a, _, x, memory_a), (b, _, y, memory_b) in zip(acted, learned, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(x.nats, y.nats)
        assert torch.equal(x.commitment, y.commitment)
        assert equal(memory_a, memory_b)
    assert learned[-1][0].requires_grad


@each
def test_gradients_reach_every_parameter(config: PlannerConfig) -> None:
    planner = build(config)
    loss = torch.zeros(())
    for logits, _, thought, _ in think(planner, looks(20), start(planner)):
        loss = loss + logits.log_softmax(1)[:, 0].sum() + thought.log_prob.sum()
        loss = loss + thought.nats.sum() + thought.commitment.sum()
    loss.backward()
    for name, x in planner.named_parameters():
        assert x.grad is not None, name
        assert torch.isfinite(x.grad).all(), name
        assert x.grad.any(), name


@each
def test_a_committed_plan_ignores_what_it_sees_and_costs_nothing(config: PlannerConfig) -> None:
    planner, features, others = build(config), looks(30), looks(30, seed=9)
    committed = looked = 0
    for tick, (logits, before, thought, after) in enumerate(
        think(planner, features, start(planner))
    ):
        age = after.get("age", torch.zeros(STREAMS))
        keeps = age > 0
        committed += int(keeps.sum())
        assert (thought.nats[keeps] == 0).all()
        assert (thought.log_prob[keeps] == 0).all()
        blind, following, _ = planner.advance(others[tick], before, flags() | (tick == 0))
        assert torch.equal(blind[keeps], logits[keeps])
        looked += int((blind != logits).any(1)[~keeps].sum())
        for name in own(following):
            assert torch.equal(following[name][keeps], after[name][keeps])
    assert (committed > 20) == ("age" in after)
    assert looked > 20, "who plans anew looks"


def test_a_state_survives_a_round_trip() -> None:
    for config in CONFIGS:
        a, b = build(config, 1), build(config, 2)
        b.load_state_dict(a.state_dict())
        memory = start(a)
        born = flags() | True
        first, second = (p.advance(looks(1)[0], memory, born)[0] for p in (a, b))
        assert torch.equal(first, second)


# STRAW.


@each_straw
def test_a_plan_shifts_by_one_place_a_tick_until_it_is_exhausted(config: STRAWConfig) -> None:
    """Never planning anew of itself, the planner does so after T ticks, of its padding alone."""
    planner = build(config)
    with torch.no_grad():
        planner.commit.weight.zero_()
        planner.bias.fill_(-200.0)  # so reluctant that no mark of 40 is heeded
    ticks = list(think(planner, looks(2 * config.length + 1), start(planner)))
    ages = torch.stack([after["age"] for *_, after in ticks])
    assert torch.equal(ages, (torch.arange(len(ticks)) % config.length)[:, None].expand_as(ages))
    written = ticks[0][3]["plan"]
    for tick in range(1, config.length):
        logits, before, _, after = ticks[tick]
        assert torch.equal(logits, written[:, :, tick])
        assert torch.equal(after["plan"], shift(before["plan"], 0.0))
        assert torch.equal(after["commitment"], shift(before["commitment"], 1.0))
        assert (after["plan"][:, :, -tick:] == 0).all()
        assert (after["commitment"][:, -tick:] == 1).all()


@each_straw
def test_a_plan_of_one_place_is_the_reactive_planner(config: STRAWConfig) -> None:
    """It plans at every tick, and its logits are a function of what is seen now alone."""
    planner = build(replace(config, length=1, filters=1))
    memory = start(planner)
    for tick, (logits, before, thought, after) in enumerate(think(planner, looks(10), memory)):
        assert (after["age"] == 0).all()
        assert (thought.commitment == 1).all()
        forgetful = start(planner) | {"dice": before["dice"]}
        assert torch.equal(logits, planner.advance(looks(10)[tick], forgetful, flags())[0])


def test_algorithm_1_by_hand() -> None:
    """One tick of one action and one filter that looks at place 1 alone, everything linear."""
    planner = STRAWConfig(length=3, filters=1, hidden=1, reluctance=0.5).build(
        features=1, num_actions=1
    )
    narrow = torch.tensor([0.0, 0.0, -20.0, 0.0])  # the middle of three places, gain 1
    with torch.no_grad():
        for x in planner.parameters():
            x.zero_()
        planner.bias.fill_(-0.5)
        planner.look.bias.copy_(narrow)
        planner.commit.bias.copy_(narrow)
        planner.think[0].weight.fill_(1.0)  # xi = relu(beta + z)
        planner.think[2].weight.fill_(1.0)
        planner.change.weight.fill_(2.0)
    memory = start(planner, 1) | {
        "plan": torch.tensor([[[1.0, 5.0, 7.0]]]),
        "commitment": torch.tensor([[0.4, 1.0, 0.3]]),
    }
    logits, after, thought = planner.advance(torch.tensor([[4.0]]), memory, flags(1))
    assert logits.tolist() == [[5.0]]
    assert after["plan"].tolist() == [[[5, 7 + 2 * (7 + 4), 0]]]
    chance = torch.sigmoid(torch.tensor([-0.5, -0.5 + 40, -0.5])).tolist()
    assert after["commitment"].tolist() == [chance]
    assert thought.commitment.tolist() == chance[1:2]
    assert after["window"].tolist() == [[0, 1, 0]]
    kept = memory | {"commitment": torch.tensor([[0.4, 0.0, 0.3]])}
    logits, after, thought = planner.advance(torch.tensor([[4.0]]), kept, flags(1))
    assert logits.tolist() == [[5.0]]
    assert after["plan"].tolist() == [[[5, 7, 0]]]
    assert after["commitment"].tolist() == torch.tensor([[0.0, 0.3, 1.0]]).tolist()
    assert thought.commitment.tolist() == torch.tensor([0.3]).tolist()


def test_the_gates_gradient_is_that_of_its_chance() -> None:
    """dL/dc = sum of dL/dA times what was written, and of dL/dc' times (renewed - shifted)."""
    config = STRAWConfig(length=5, filters=2, hidden=4)
    planner = build(config)
    chance = torch.full((STREAMS, 5), 0.5, requires_grad=True)
    plan = torch.randn(STREAMS, ACTIONS, 5, generator=torch.Generator().manual_seed(0))
    memory = start(planner) | {"plan": plan, "commitment": chance}
    logits, after, _ = planner.advance(looks(1)[0], memory, flags())
    logits.square().sum().backward()
    assert chance.grad is not None
    anew = after["age"] == 0
    assert 0 < int(anew.sum()) < STREAMS

    always = memory | {"commitment": torch.ones(STREAMS, 5)}
    written = planner.advance(looks(1)[0], always, flags())[0] - plan[:, :, 1]
    torch.testing.assert_close(chance.grad[:, 1], (2 * logits * written).sum(1).detach())
    assert (chance.grad[:, [0, 2, 3, 4]] == 0).all()


def test_nats_are_the_divergence_of_the_code_at_ticks_of_planning() -> None:
    planner = build(STRAWeConfig(length=6, filters=2, hidden=4, code=3))
    for tick, (_, _, thought, after) in enumerate(think(planner, looks(15), start(planner))):
        mean, log_scale = planner.encode.posterior(looks(15)[tick]).chunk(2, 1)
        nats = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        torch.testing.assert_close(thought.nats, torch.where(after["age"] == 0, nats, 0.0))


def test_a_learned_prior_begins_as_the_standard_one() -> None:
    costs = []
    for prior in ("standard", "learned"):
        planner = STRAWeConfig(length=6, filters=2, prior=prior).build(
            features=FEATURES, num_actions=ACTIONS
        )
        costs.append(planner.advance(looks(1)[0], start(planner), flags() | True)[2].nats)
    torch.testing.assert_close(costs[0], costs[1])


def test_a_new_planner_writes_the_ticks_to_come_and_then_plans_anew() -> None:
    planner = STRAWConfig(reluctance=16.0).build(features=FEATURES, num_actions=ACTIONS)
    with torch.no_grad():
        ticks = list(think(planner, looks(45), start(planner)))
    assert ticks[0][3]["plan"].abs().sum((0, 1))[:10].min() > 1e-3
    assert float(ticks[0][3]["plan"][:, :, 15:].abs().max()) < 1e-6
    lengths = torch.stack([after["age"] for *_, after in ticks]).max(0).values + 1
    assert ((lengths >= 8) & (lengths <= 12)).all()


# Action repetition.


def test_an_action_is_done_again_for_as_long_as_was_drawn() -> None:
    planner = build(ActionRepeatConfig(longest=5))
    memory, features = start(planner), looks(60)
    lengths = []
    for tick in range(60):
        logits, after, thought = planner.advance(features[tick], memory, flags() | (tick == 0))
        keeps = after["age"] > 0
        again = torch.nn.functional.one_hot(memory["action"], ACTIONS).float()
        assert torch.equal(logits.softmax(1)[keeps], again[keeps])
        log_q = planner.length(features[tick]).log_softmax(1)
        drawn = after["left"][~keeps]
        torch.testing.assert_close(
            thought.log_prob[~keeps], log_q[~keeps].gather(1, drawn[:, None])[:, 0]
        )
        torch.testing.assert_close(thought.commitment[~keeps], log_q[~keeps, 0].exp())
        if tick:
            lengths += (memory["age"][~keeps] + 1).tolist()
            assert torch.equal(memory["left"] == 0, ~keeps)
        action = (memory["action"] + 1) % ACTIONS
        memory = after | {"action": torch.where(keeps, memory["action"], action)}
    assert set(lengths) == {1, 2, 3, 4, 5}


def test_an_untrained_planner_draws_every_length_equally() -> None:
    planner = ActionRepeatConfig(longest=6).build(features=FEATURES, num_actions=ACTIONS)
    n = 6000
    features = looks(1, n)[0]
    _, after, thought = planner.advance(features, start(planner, n), torch.ones(n).bool())
    counts = torch.bincount(after["left"], minlength=6)
    assert (counts - 1000).abs().max() < 5 * (n * 5 / 36) ** 0.5
    assert float(thought.nats.detach().max()) < 0.01


# Bad input.


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (STRAWConfig, {"length": 5, "filters": 6}, "planner.length is 5, shorter than its 6"),
        (STRAWConfig, {"filters": 0}, "planner.filters is 0; it must be 1 or more"),
        (STRAWConfig, {"hidden": 0}, "planner.hidden is 0"),
        (STRAWeConfig, {"length": 3}, "planner.length is 3"),
        (STRAWeConfig, {"code": 0}, "planner.code is 0"),
        (ActionRepeatConfig, {"longest": 0}, "planner.longest is 0"),
    ],
)
def test_what_cannot_be_planned_with_is_refused(kind: Any, settings: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        kind(**settings)
