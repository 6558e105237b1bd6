"""Agents that plan: what is learned from is what acted, and without a plan they are their twin."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from test_agents import OPTIONS, equal

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.loop import interact
from agents.losses import entropy
from agents.networks import MLPConfig
from agents.returns import lambda_returns
from agents.rollout import Rollout
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.interface import Segment, Transition
from envs.stream import Stream
from experiments import PRESETS, Experiment, load, train
from experiments.config import differences, encode
from world_models.interface import PlannerConfig
from world_models.planning import PLANNERS
from world_models.planning.action_repeat import ActionRepeatConfig
from world_models.planning.reactive import ReactiveConfig
from world_models.planning.straw import STRAWConfig, STRAWeConfig

EXAMPLES: dict[str, PlannerConfig] = {
    "action-repeat": ActionRepeatConfig(longest=4),
    "straw": STRAWConfig(length=10, filters=4, hidden=32, reluctance=0.0),
    "strawe": STRAWeConfig(length=10, filters=4, hidden=32, reluctance=0.0, code=8),
}
SMALL = ActorCriticConfig(
    network=MLPConfig(hidden=(32,)), horizon=16, backprop=8, epochs=2, minibatches=2, anneal_steps=0
)
each_plan = pytest.mark.parametrize("planner", EXAMPLES.values(), ids=list(EXAMPLES))


def test_every_planner_but_the_reactive_one_is_tested() -> None:
    assert EXAMPLES.keys() == PLANNERS.keys() - {"reactive"}


def played(config: ActorCriticConfig, ticks: int, n: int = 8) -> tuple[ActorCritic, Any]:
    stream = Stream(CatchConfig().build(n), seed=0)
    agent = config.build(stream.spec, seed=0)
    return agent, list(islice(interact(stream, agent), ticks))


def segment_of(agent: ActorCritic, transitions: list[Transition]) -> Segment:
    rollout = Rollout(agent.spec, len(transitions))
    for t in transitions:
        rollout.append(t)
    return rollout.take()


def test_with_the_reactive_planner_it_is_the_actor_critic() -> None:
    """Logits and gradients of a trunk with two linear heads, whatever a plan would cost."""
    config = replace(SMALL, nats_cost=5.0, commitment_cost=7.0, clip=None, value_clip=None)
    agent, transitions = played(replace(config, planner=ReactiveConfig()), 16)
    assert not agent.network.recurrent
    batch = agent.judge(segment_of(agent, transitions))
    loss, _ = agent.loss(batch)
    loss.backward()
    got = [x.grad.clone() for x in agent.network.parameters() if x.grad is not None]
    agent.network.zero_grad()

    features = agent.network.trunk(batch.obs.flatten(0, 1))
    head: Any = agent.network.planner.logits  # type: ignore[union-attr]
    log_pi, value = head(features).log_softmax(1), agent.network.value(features)[:, 0]
    assert torch.equal(log_pi.exp().argmax(1), agent.network(
        batch.obs, batch.first, {}
    )[0].flatten(0, 1).argmax(1))  # fmt: skip
    weight = batch.valid.flatten() / batch.valid.sum()
    advantage = batch.advantage.flatten()
    centred = advantage - (weight * advantage).sum()
    centred = centred / ((weight * centred**2).sum().sqrt() + 1e-8)
    chosen = log_pi.gather(1, batch.action.flatten()[:, None])[:, 0]
    error = (value - (batch.advantage + batch.value).flatten()) ** 2 / 2
    twin = -chosen * centred + 0.5 * error - 0.01 * entropy(log_pi)
    (weight * twin).sum().backward()
    wanted = [x.grad for x in agent.network.parameters()]
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_presets_of_planners_are_twins() -> None:
    """The actor-critic with one line changed; the variational MDP is STRAWe with one more."""
    for name in ("action-repeat", "straw", "strawe", "variational-mdp"):
        changed = differences(encode(PRESETS[name]), encode(PRESETS["actor-critic"]))
        paths = {line.partition(":")[0] for line in changed}
        others = {path for path in paths if not path.startswith("agent.planner")}
        assert others == ({"agent.free_energy"} if name == "variational-mdp" else set())


@each_plan
def test_replaying_a_segment_reproduces_what_acted_bit_for_bit(planner: PlannerConfig) -> None:
    """Thoughts and memories of every tick, through births, from the segment's first memory."""
    agent, transitions = played(replace(SMALL, planner=planner), 31)
    segment = segment_of(agent, transitions)
    assert segment.first[:, 1:].any()
    looks = segment.obs[:, :-1], segment.first[:, :-1]
    logits, *_, memory = agent.network(*looks, segment.memory, segment.action)
    for name, x in transitions[-1].next_memory.items():
        assert torch.equal(memory[name], x), name
    for i, t in enumerate(transitions):
        alone, *_ = agent.network(t.step.obs[:, None], t.step.first[:, None], t.memory)
        assert torch.equal(alone[:, 0], logits[:, i])


@each_plan
def test_each_piece_begins_with_the_memory_it_began_with(planner: PlannerConfig) -> None:
    agent, transitions = played(replace(SMALL, planner=planner), 16)
    batch = agent.judge(segment_of(agent, transitions))
    assert batch.action.shape == (16, 8)
    for name, x in transitions[8].memory.items():
        assert torch.equal(batch.memory[name][1::2], x), name
        assert torch.equal(batch.memory[name][::2], transitions[0].memory[name]), name
    means = agent.loss(batch)[1]
    assert float(means["kl"]) == pytest.approx(0, abs=1e-7), "judged as it was played"


@each_plan
def test_later_epochs_choose_as_the_first_did(planner: PlannerConfig) -> None:
    """Whatever the parameters have become: plans are made anew at the ticks at which they were."""
    agent, transitions = played(replace(SMALL, planner=planner, learning_rate=0.1), 16)
    segment = segment_of(agent, transitions)
    batch = agent.judge(segment)
    agent.improve(segment)
    said = batch.obs, batch.first, batch.memory, batch.action
    *_, after = agent.network(*said, batch.choice)
    assert torch.equal(after["age"][1::2], transitions[-1].next_memory["age"])
    others = batch.choice.roll(1, 0)
    *_, otherwise = agent.network(*said, others)
    assert not torch.equal(otherwise["age"], after["age"]), "the choice makes no difference"


@pytest.mark.parametrize("explore", [True, False])
def test_a_repeated_action_is_the_one_that_was_done(explore: bool) -> None:
    stream = Stream(CatchConfig().build(8), seed=0)
    agent = replace(SMALL, planner=ActionRepeatConfig(longest=4)).build(stream.spec, seed=0)
    repeated = 0
    for t in islice(interact(stream, agent, explore=explore), 40):
        assert torch.equal(t.next_memory["action"], t.action)
        again = t.next_memory["age"] > 0
        repeated += int(again.sum())
        assert torch.equal(t.action[again], t.memory["action"][again])
    assert repeated > 50


def test_free_energy_is_a_return_of_reward_minus_nats_plus_entropy() -> None:
    config = replace(
        SMALL, planner=EXAMPLES["strawe"], free_energy=True, nats_cost=0.3, entropy_bonus=0.3
    )
    agent, transitions = played(config, 16)
    segment = segment_of(agent, transitions)
    batch = agent.judge(segment)
    with torch.no_grad():
        logits, value, thought, _ = agent.network(
            segment.obs, segment.first, segment.memory, segment.action
        )
    p = logits.softmax(-1)
    surprise = -(p * p.log()).sum(-1)
    energy = segment.reward + 0.3 * (surprise - thought.nats)[:, :-1]
    assert (thought.nats > 0).any()
    returns = lambda_returns(energy, 0.99 * segment.discount, value, segment.valid, 0.95)
    torch.testing.assert_close((batch.advantage + batch.value).view(8, 16), returns)


def test_costs_of_planning_lower_themselves() -> None:
    """Gradient steps on the costs alone: the planner commits, and its code says less."""
    config = replace(
        SMALL, planner=EXAMPLES["strawe"], learning_rate=0.1, commitment_cost=1.0, nats_cost=1.0
    )
    agent, transitions = played(config, 16)
    batch = agent.judge(segment_of(agent, transitions))
    batch = replace(batch, advantage=torch.zeros_like(batch.advantage))
    means = [agent.update(batch) for _ in range(12)]
    for cost in ("nats", "commitment"):
        assert float(means[-1][cost]) < 0.5 * float(means[0][cost])


def test_it_resumes_in_the_middle_of_a_plan(tmp_path: Path) -> None:
    config = replace(SMALL, planner=EXAMPLES["strawe"])
    experiment = Experiment(config, CatchConfig(), seed=3, steps=160, streams=4)
    train(experiment, tmp_path / "straight", OPTIONS)
    train(replace(experiment, steps=84), tmp_path / "halved", OPTIONS)  # 21 ticks: mid-segment
    train(experiment, tmp_path / "halved", OPTIONS)
    agents = [load(tmp_path / name, device="cpu")[1] for name in ("straight", "halved")]
    assert equal(agents[0].state_dict(), agents[1].state_dict())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nats_cost": -0.1}, "agent.nats_cost is -0.1; it must be 0 or more"),
        ({"commitment_cost": -1.0}, "agent.commitment_cost is -1.0; it must be 0 or more"),
        ({"backprop": 0}, "agent.backprop is 0; it must be 1 or more"),
        ({"free_energy": True, "nats_cost": 0.5}, "make them equal"),
    ],
)
def test_costs_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replace(SMALL, **settings)


def test_a_segment_that_cannot_be_cut_is_refused() -> None:
    spec = Stream(CatchConfig().build(4)).spec
    config = replace(SMALL, horizon=30)
    config.build(spec)  # without a memory there is nothing to cut
    with pytest.raises(UsageError, match=r"horizon is 30 and agent\.backprop 8"):
        replace(config, planner=EXAMPLES["straw"]).build(spec)
