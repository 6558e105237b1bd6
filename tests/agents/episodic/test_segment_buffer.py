"""The segments that a representation learns from as the agent plays."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from reverie.agents.episodic.segment_buffer import SegmentBuffer
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec, Segment, Transition

NUM_ENVS, EPISODE = 3, 5


def play(timesteps: int) -> tuple[EnvSpec, list[Transition]]:
    """Return random play whose observations hold the timestep and the env."""
    envs = BatchedEnv(CatchConfig(rows=EPISODE).build(NUM_ENVS), seed=0)
    transitions = []
    for i, t in enumerate(islice(interact(envs, RandomPolicy(3)), timesteps)):
        obs = torch.zeros_like(t.step.obs)
        obs[:, 0, 0, 0], obs[:, 0, 0, 1] = i, torch.arange(NUM_ENVS)
        transitions.append(replace(t, step=replace(t.step, obs=obs)))
    return envs.spec, transitions


def filled(capacity: int, length: int) -> tuple[SegmentBuffer, list[Transition]]:
    spec, transitions = play(40)
    buffer = SegmentBuffer(spec, capacity, length)
    for t in transitions:
        buffer.append(t)
    return buffer, transitions


def every_segment(buffer: SegmentBuffer, most: int = 1000) -> Segment:
    return buffer.sample((torch.arange(most) + 0.5) / most)


def places(obs: Tensor) -> set[tuple[int, int]]:
    """Return the timestep and env of observations."""
    return set(map(tuple, obs[:, 0, 0, :2].tolist()))


@pytest.mark.parametrize("length", [1, 3, EPISODE + 2])
@pytest.mark.parametrize("capacity", [61, 90, 1000])
def test_segments_are_those_of_the_play(length: int, capacity: int) -> None:
    buffer, transitions = filled(capacity, length)
    segment = every_segment(buffer)
    start, env = segment.obs[:, 0, 0, 0, :2].long().T
    for i in range(length + 1):
        assert torch.equal(segment.obs[:, i, 0, 0, :2].long(), torch.stack([start + i, env], 1))
        assert torch.equal(segment.first[:, i], column("first", transitions)[start + i, env])
    for i in range(length):
        action = torch.stack([t.action for t in transitions])[start + i, env]
        assert torch.equal(segment.action[:, i], action)
        for name, x in (("reward", segment.reward), ("discount", segment.discount)):
            expected = torch.stack([getattr(t.next_step, name) for t in transitions])
            assert torch.equal(x[:, i], expected[start + i, env].float())
    ends = torch.stack([column("last", transitions)[start + i, env] for i in range(length + 1)], 1)
    assert torch.equal(segment.last, ends.cumsum(1) > 0), "last from the episode's end on"
    oldest = 40 - min(capacity, 40 * NUM_ENVS) // NUM_ENVS
    allowed = {
        (i, n)
        for i in range(oldest, 40 - length)
        for n in range(NUM_ENVS)
        if not transitions[i].step.last[n]
    }
    assert places(segment.obs[:, 0]) >= allowed
    assert all(i < 40 - length for i, _ in places(segment.obs[:, 0]))
    assert not segment.last[:, 0].any()


def column(name: str, transitions: list[Transition]) -> Tensor:
    return torch.stack([getattr(t.step, name) for t in transitions])


def test_segments_of_one_observation_are_the_frames_without_reset_steps() -> None:
    buffer, transitions = filled(30, 0)
    shown = torch.cat([t.step.obs[t.valid] for t in transitions])
    assert buffer.count == len(shown)
    segment = every_segment(buffer)
    assert segment.obs.shape[1:] == (1, *shown.shape[1:])
    assert segment.action.shape == segment.reward.shape == (1000, 0)
    assert places(segment.obs[:, 0]) == places(shown[-30:])
    assert not buffer.timesteps, "nothing but frames is kept"


@pytest.mark.parametrize("length", [0, 3])
def test_a_restored_buffer_continues_exactly(length: int) -> None:
    spec, transitions = play(60)
    straight, resumed = (SegmentBuffer(spec, 50, length) for _ in range(2))
    for i, t in enumerate(transitions):
        straight.append(t)
        if i == 25:
            resumed.load_state_dict(straight.state_dict())
            resumed.count = straight.count
        if i > 25:
            resumed.append(t)
    a, b = every_segment(straight), every_segment(resumed)
    assert torch.equal(a.obs, b.obs)
    assert torch.equal(a.reward, b.reward)
    assert torch.equal(a.last, b.last)


def test_a_buffer_without_room_for_a_segment_is_refused() -> None:
    spec, transitions = play(5)
    with pytest.raises(UsageError, match=r"agent.fit_after is 14, .* 3 envs .* 3 timesteps; .* 15"):
        SegmentBuffer(spec, 14, 3)
    buffer = SegmentBuffer(spec, 15, 3)
    for t in transitions:
        buffer.append(t)
    assert len(every_segment(buffer).obs) == 1000


def test_frames_are_constant_only_if_all_are_equal() -> None:
    spec, transitions = play(3)
    buffer = SegmentBuffer(spec, 5_000, 1)
    for i in range(1_500):
        step = replace(transitions[0].step, obs=torch.full_like(transitions[0].step.obs, 7))
        if i == 1_400:
            assert buffer.is_constant
            step.obs[1, 0, 0, 0] = 8
        buffer.append(replace(transitions[0], step=step))
    assert not buffer.is_constant
