"""Streams in parts: overlap changes when things are done, and nothing of what comes of them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from test_agents import EXAMPLES, OPTIONS, equal, numbers
from torch import Tensor
from worlds import Scripted, Silent

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.interface import AgentConfig
from agents.loop import interact
from agents.policies import RandomPolicy
from envs import dice
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.interface import EnvConfig, Memory, Metrics, Segment, Step, Transition, step_state
from envs.pipeline import Pipeline
from envs.protocol import PROTOCOLS
from envs.stream import EmulatorSilent, Stream, _read
from experiments import Experiment, load, train

BREAKOUT = AtariConfig("breakout", replace(PROTOCOLS["machado"], frames_cap=400))


def parts_of(env: EnvConfig, count: int = 2, size: int = 4, **settings: Any) -> Pipeline:
    return Pipeline(
        [Stream(env.build(size, threads=1), start=size * i, **settings) for i in range(count)]
    )


def same(a: Transition, b: Transition) -> bool:
    left, right = ({"action": t.action, **step_state(t.next_step), **t.next_memory} for t in (a, b))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize(
    ("env", "ahead", "reseed_after"),
    [(CatchConfig(), 1, 30), (CatchConfig(), 7, 30), (BREAKOUT, 7, 10_000)],
    ids=["catch-1", "catch-7", "breakout-7"],
)
def test_overlapped_parts_are_the_parts_one_after_another_and_the_whole(
    env: EnvConfig, ahead: int, reseed_after: int
) -> None:
    """Of a policy that does not learn; in Catch with streams seeded anew in between."""
    policy = RandomPolicy(3)
    overlapped = interact(parts_of(env, reseed_after=reseed_after), policy, ahead=ahead)
    whole = interact(Stream(env.build(8, threads=1), reseed_after=reseed_after), policy)
    alone = [
        Stream(env.build(4, threads=1), start=4 * i, reseed_after=reseed_after) for i in range(2)
    ]
    keys = policy.initial(8)["dice"]
    apart = [
        interact(s, policy, start=(s.reset(), {"dice": keys[4 * i : 4 * i + 4]}))
        for i, s in enumerate(alone)
    ]
    births = 0
    for t, w, a, b in islice(zip(overlapped, whole, *apart, strict=False), 150):
        assert same(t, w)
        for name, x in step_state(t.next_step).items():
            assert torch.equal(x, torch.cat([step_state(half.next_step)[name] for half in (a, b)]))
        births += int(t.next_step.first.sum())
    assert births > 5


class Watched:
    """A policy whose actions say how often the consumer has spoken to it."""

    def __init__(self) -> None:
        self.heard = 0

    def initial(self, n: int) -> Memory:
        return {"dice": dice.keys(0, "train", n)}

    def act(self, step: Step, memory: Memory, *, explore: bool = True) -> tuple[Tensor, Memory]:
        return torch.full((len(step.reward),), self.heard), memory


def test_actions_are_one_tick_old_but_at_a_segments_beginning() -> None:
    from gymnasium.spaces import Discrete

    def ages(ahead: int) -> Iterator[list[int]]:
        policy = Watched()
        parts = [Stream(Scripted(2, actions=Discrete(99)), start=2 * i) for i in range(2)]
        for tick, t in enumerate(islice(interact(Pipeline(parts), policy, ahead=ahead), 9)):
            yield sorted(set((tick - t.action).tolist()))
            policy.heard += 1

    assert list(ages(ahead=1)) == [[0]] * 9
    assert list(ages(ahead=4)) == [[0], [1], [1], [1], [0], [1], [1], [1], [0]]


def test_an_on_policy_agent_learns_the_same_in_parts() -> None:
    """Segments end with nothing under way, so no action is of an older policy."""
    config = EXAMPLES["actor-critic"]
    agents = []
    for stream in (Stream(CatchConfig().build(8)), parts_of(CatchConfig())):
        agent = config.build(stream.spec, seed=0)
        for t in islice(interact(stream, agent, ahead=config.segment), 3 * config.segment):
            agent.learn(t)
        agents.append(agent.state_dict()["network"])
    assert agents[0].keys() == agents[1].keys()
    for name, x in agents[0].items():
        assert torch.allclose(x, agents[1][name], atol=1e-4), name


@pytest.mark.parametrize("config", [EXAMPLES["actor-critic"], EXAMPLES["dqn"]], ids=["ppo", "dqn"])
def test_a_resumed_pipeline_equals_an_uninterrupted_one(
    config: AgentConfig, tmp_path: Path
) -> None:
    options = replace(OPTIONS, pipeline=2)
    experiment = Experiment(config, CatchConfig(), seed=3, steps=3000, streams=8)
    train(experiment, tmp_path / "straight", options)
    train(replace(experiment, steps=1500), tmp_path / "halved", options)
    train(experiment, tmp_path / "halved", options)
    assert numbers(tmp_path / "halved")[-1] == numbers(tmp_path / "straight")[-1]
    agents = [load(tmp_path / name, device="cpu")[1] for name in ("straight", "halved")]
    assert equal(agents[0].state_dict(), agents[1].state_dict())


def test_a_segment_begun_without_parts_is_ended_by_the_policy_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sixteen ticks four were played when the pipeline came; later segments begin anew."""
    config = replace(EXAMPLES["actor-critic"], horizon=16, backprop=16)
    experiment = Experiment(config, CatchConfig(), steps=8 * 20, streams=8)
    train(experiment, tmp_path, OPTIONS)
    policies, act, improve = [0], ActorCritic.act, ActorCritic.improve
    acted: list[int] = []

    def watched(self: ActorCritic, *step: Any, **options: Any) -> Any:
        acted.append(len(policies))
        return act(self, *step, **options)

    def improved(self: ActorCritic, segment: Segment) -> Metrics:
        policies.append(0)
        return improve(self, segment)

    monkeypatch.setattr(ActorCritic, "act", watched)
    monkeypatch.setattr(ActorCritic, "improve", improved)
    train(replace(experiment, steps=8 * 64), tmp_path, replace(OPTIONS, pipeline=2))
    assert [acted.count(policy) / 2 for policy in (1, 2, 3)] == [12, 16, 16]
    assert acted == sorted(acted)


def test_a_state_does_not_know_of_parts() -> None:
    """What two parts were left at, one stream goes on from, and the other way round."""
    policy = RandomPolicy(4)
    for first, then in ((2, 1), (1, 2)):
        streams = [parts_of(BREAKOUT, count, 8 // count, seed=3) for count in (first, then)]
        *_, t = islice(interact(streams[0], policy), 110)
        obs = streams[1].load_state_dict(streams[0].state_dict())
        assert torch.equal(obs, t.next_step.obs)
        assert equal(streams[0].state_dict(), streams[1].state_dict())


def test_a_dead_part_ends_the_wait() -> None:
    parts = [Stream(kind(2), timeout=0.2) for kind in (Scripted, Silent)]
    loop = interact(Pipeline(parts), RandomPolicy(2), ahead=100)
    with pytest.raises(EmulatorSilent, match="said nothing for"):
        for _ in islice(loop, 5):
            pass


def test_a_tick_travels_as_one_buffer() -> None:
    """What is written at one place is read at the other, whatever the sizes."""
    buffer = torch.zeros(10 * 3 + 3 * 5, dtype=torch.uint8)
    here = _read(buffer, (3, 1, 1, 5))
    here["obs"].copy_(torch.arange(15).view(3, 1, 1, 5))
    here["reward"][:] = torch.tensor([1.5, -2.0, 1e9])
    here["discount"][1], here["first"][2], here["last"][0] = 1.0, True, True
    there = _read(buffer.clone(), (3, 1, 1, 5))
    assert equal(here, there)
    assert there["reward"].tolist() == [1.5, -2.0, 1e9]
    assert there["first"].tolist() == [False, False, True]


@pytest.mark.parametrize(("streams", "pipeline"), [(5, 2), (4, 0), (1, 2)])
def test_streams_that_do_not_fall_into_parts_are_refused(
    streams: int, pipeline: int, tmp_path: Path
) -> None:
    experiment = Experiment(ActorCriticConfig(), CatchConfig(), streams=streams)
    with pytest.raises(UsageError, match=f"pipeline is {pipeline}, and {streams} streams"):
        train(experiment, tmp_path, replace(OPTIONS, pipeline=pipeline))
