"""The actor-critic beyond the laws of agents: its losses, its memory and its schedule."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch.nn import functional
from worlds import Scripted

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.loop import interact
from agents.losses import normalised, policy_loss, value_loss
from agents.networks import MLPConfig
from agents.policies import sample
from agents.rollout import Rollout
from envs import dice
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.interface import Segment, Transition
from envs.stream import Stream
from world_models.interface import Planner
from world_models.planning import PLANNERS

SMALL = ActorCriticConfig(network=MLPConfig(hidden=(16,)), horizon=8, minibatches=2)
A2C = replace(
    SMALL, epochs=1, minibatches=1, clip=None, value_clip=None, normalise_advantages=False
)


def played(agent: ActorCritic, env: Any, ticks: int) -> list[Transition]:
    return list(islice(interact(Stream(env), agent), ticks))


def segment_of(agent: ActorCritic, transitions: list[Transition]) -> Segment:
    rollout = Rollout(agent.spec, len(transitions))
    for t in transitions:
        rollout.append(t)
    return rollout.take()


def agent_for(config: ActorCriticConfig, env: Any, seed: int = 0) -> ActorCritic:
    return config.build(Stream(env).spec, seed=seed)


def test_the_clipped_objective_by_hand() -> None:
    ratio, advantage = torch.tensor([1.0, 1.5, 1.5, 0.5, 0.5]), torch.tensor([2.0, 2.0, -2, 2, -2])
    free = policy_loss(ratio.log(), advantage, None)
    assert free.tolist() == pytest.approx([-2.0, -3.0, 3.0, -1.0, 1.0])
    # Gains end at 1.25 and 0.75 of the old probability; losses never do.
    clipped = policy_loss(ratio.log(), advantage, 0.25)
    assert clipped.tolist() == pytest.approx([-2.0, -2.5, 3.0, -1.0, 1.5])


def test_the_value_loss_by_hand() -> None:
    value, before = torch.tensor([1.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 1.0])
    returns = torch.tensor([3.0, 3.0, -1.0])
    assert value_loss(value, before, returns, None).tolist() == [2.0, 0.5, 4.5]
    # Beyond 1.5, coming nearer to 3 is no gain: (1.5 - 3)^2 / 2; going away from -1 is a loss.
    assert value_loss(value, before, returns, 0.5).tolist() == [2.0, 1.125, 4.5]


def test_advantages_are_normalised_under_their_weights() -> None:
    x, weight = torch.tensor([1.0, 3.0, 1e6]), torch.tensor([0.5, 0.5, 0.0])
    assert normalised(x, weight)[:2].tolist() == pytest.approx([-1.0, 1.0])


def test_one_epoch_without_a_clip_is_a2c() -> None:
    """The gradient of log pi(a) A, of the squared error and of the entropy, written out."""
    agent = agent_for(A2C, Scripted(4))
    segment = segment_of(agent, played(agent, Scripted(4), 8))
    batch = agent.judge(segment)
    agent.loss(batch)[0].backward()  # type: ignore[no-untyped-call]
    got = [x.grad.clone() for x in agent.network.parameters() if x.grad is not None]
    agent.network.zero_grad()
    features = agent.network.trunk(segment.obs[:, :-1].flatten(0, 1))
    logits = agent.network.planner.logits(features)  # type: ignore[union-attr]
    values = agent.network.value(features)[:, 0]
    returns = (batch.advantage + batch.value).flatten()
    loss, count = torch.zeros(()), 0
    for i in range(32):
        if segment.valid.flatten()[i]:
            p = logits[i].softmax(0)
            loss = loss - p[segment.action.flatten()[i]].log() * batch.advantage.flatten()[i]
            loss = loss + 0.5 * 0.5 * (values[i] - returns[i]) ** 2
            loss = loss + 0.01 * (p * p.log()).sum()
            count += 1
    (loss / count).backward()  # type: ignore[no-untyped-call]
    wanted = [x.grad for x in agent.network.parameters()]
    assert count == 24
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_before_any_update_the_segment_is_judged_as_it_was_played() -> None:
    """No change of log-probability, so no divergence and nothing clipped, in either order."""
    for config in (SMALL, replace(SMALL, lstm=8)):
        agent = agent_for(config, Scripted(4))
        batch = agent.judge(segment_of(agent, played(agent, Scripted(4), 8)))
        means = agent.loss(batch)[1]
        assert float(means["kl"]) == pytest.approx(0, abs=1e-7)
        assert float(means["clipped"]) == 0
        assert float(means["entropy"]) == pytest.approx(math.log(2), abs=1e-3)


def test_memory_is_threaded_through_segments_and_cut_at_births() -> None:
    """Unrolled again from a segment's first memory, an LSTM says what it said while playing."""
    config = replace(SMALL, lstm=8)
    agent = agent_for(config, CatchConfig().build(4))
    transitions = played(agent, CatchConfig().build(4), 30)[7:]  # births at ticks 4, 15
    segment = segment_of(agent, transitions)
    assert segment.first[:, 1:-1].any()
    assert set(segment.memory) == {"hidden", "cell", "dice"}
    _, _, _, following = agent.network(segment.obs[:, :-1], segment.first[:, :-1], segment.memory)
    for name, x in transitions[-1].next_memory.items():
        assert torch.allclose(following[name], x, atol=1e-6), name
    # What was remembered before a birth changes nothing after it.
    other = {name: x + 1 if name != "dice" else x for name, x in segment.memory.items()}
    a, b = (
        agent.network(segment.obs, segment.first, memory)[1] for memory in (segment.memory, other)
    )
    born = segment.first.cumsum(1) > 0
    assert torch.allclose(a[born], b[born], atol=1e-6)
    assert not torch.allclose(a[~born], b[~born], atol=1e-3)


def test_a_recurrent_agent_remembers_what_it_no_longer_sees() -> None:
    """The first look says which action is paid at the last: an agent of looks alone gets half."""
    config = replace(
        SMALL, horizon=16, minibatches=1, epochs=2, learning_rate=2e-2, anneal_steps=0, gamma=0.9,
        network=MLPConfig(hidden=(16,)),
    )  # fmt: skip
    scores = {}
    for lstm in (0, 16):
        stream = Stream(Recall(16))
        agent = replace(config, lstm=lstm).build(stream.spec, seed=0)
        rewards: list[float] = []
        for t in islice(interact(stream, agent), 800):
            agent.learn(t)
            rewards += t.next_step.reward[t.next_step.last].tolist()
        scores[lstm] = sum(rewards[-300:]) / 300
    assert scores[16] > 0.9
    assert scores[0] < 0.7


class Recall(Scripted):
    """Looks 1 or 2, then darkness; reward 1 for action 0 or 1 accordingly, in the third step."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs, shape=(1, 2, 2))
        self.rng = torch.Generator().manual_seed(0)
        self.cue = torch.zeros(num_envs, dtype=torch.int64).numpy()

    def step(self, actions: Any) -> Any:
        obs, _, terminated, truncated, _ = super().step(actions)
        over = terminated | truncated
        return obs, over * (actions == self.cue) * 1.0, over, over & False, {}

    def _look(self) -> Any:
        draw = torch.randint(2, (self.num_envs,), generator=self.rng).numpy()
        born = self.time == 0
        self.cue = (1 - born) * self.cue + born * draw
        self.buffer[:] = (born * (self.cue + 1) * 100).reshape(-1, 1, 1, 1)
        return self.buffer


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).repeat(20_000, 1)
    drawn = sample(logits, dice.keys(0, "train", 20_000))
    share = functional.one_hot(drawn, 3).float().mean(0)
    assert torch.allclose(share, logits[0].softmax(0), atol=0.01)


def test_the_learning_rate_falls_from_the_first_segment_to_nothing() -> None:
    config = replace(SMALL, anneal_steps=96, learning_rate=1.0, gradient_clip=1e-9)
    agent = agent_for(config, Scripted(4))
    rates = []
    for t in islice(interact(Stream(Scripted(4)), agent), 32):
        rates += [m for m in [agent.learn(t).get("actor_critic/learning_rate")] if m is not None]
    assert rates == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_is_a_planner(name: str) -> None:
    planner = PLANNERS[name]().build(features=5, num_actions=3, seed=0)
    assert isinstance(planner, Planner)
    memory = planner.initial(4) | {"dice": dice.keys(0, "train", 4)}
    logits, _, thought = planner.advance(torch.randn(4, 5), memory, torch.ones(4, dtype=torch.bool))
    assert logits.shape == (4, 3)
    assert thought.nats.shape == thought.commitment.shape == (4,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"epochs": 0},
        {"minibatches": -1},
        {"lstm": -1},
        {"gae_lambda": 1.5},
        {"clip": 0.0},
        {"learning_rate": math.nan},
        {"anneal_steps": -1},
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(wrong))}"):
        ActorCriticConfig(**wrong)


def test_a_minibatch_beyond_the_memory_is_refused_with_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = agent_for(SMALL, Scripted(4))
    whole = agent.loss

    def small_memory(batch: Any) -> Any:
        if len(batch.action) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(batch)

    monkeypatch.setattr(agent, "_loss", small_memory)
    segment = segment_of(agent, played(agent, Scripted(4), 8))
    with pytest.raises(UsageError, match=r"minibatch of 16 rows .* 4 fit; .*minibatches 8"):
        agent.improve(segment)


def test_looks_beyond_the_memory_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"agent.horizon is 1000000000000"):
        agent_for(replace(SMALL, horizon=10**12), Scripted(4))
