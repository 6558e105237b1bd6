"""Tests of Replay: against a reference that keeps every transition, its memory and its sampling."""

import copy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reverie.agents import replay as replay_module
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.agents.replay import Replay
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec, TimeStep, Transition

from sample_envs import ScriptedEnv

GO, LIFE, DEATH, TIMEOUT = range(4)


def play(outcomes: list[list[int]], stack: int, channels: int, *, midway: bool) -> list[Transition]:
    """Transitions of envs with random frames and rewards and these outcomes, with autoreset.

    ``midway`` starts within an episode.
    """
    generator = torch.Generator().manual_seed(len(outcomes))

    def random_frames() -> Tensor:
        return torch.randint(1, 256, (n, channels, 1, 2), dtype=torch.uint8, generator=generator)

    n = len(outcomes[0])
    frames = torch.zeros(n, stack, channels, 1, 2, dtype=torch.uint8)
    for k in range(stack if midway else 1):
        frames[:, stack - 1 - k] = random_frames()
    flags = torch.full((n,), not midway), torch.zeros(n, dtype=torch.bool)
    zeros = torch.zeros(n, dtype=torch.float64)
    step = TimeStep(frames.flatten(1, 2), zeros, torch.ones(n), *flags, frames[:, -1])
    transitions = []
    for row in outcomes:
        outcome, first = torch.tensor(row), step.last
        older = frames[:, 1:] * ~first[:, None, None, None, None]
        frames = torch.cat([older, random_frames()[:, None]], 1)
        dies = (outcome == LIFE) | (outcome == DEATH)
        next_step = TimeStep(
            obs=frames.flatten(1, 2),
            reward=torch.randint(-3, 4, (n,), generator=generator).double(),
            discount=torch.where(~first & dies, 0.0, 1.0),
            first=first,
            last=~first & (outcome >= DEATH),
            frame=frames[:, -1],
        )
        action = torch.randint(0, 5, (n,), generator=generator)
        transitions.append(Transition(step, {}, action, {}, next_step, {}, torch.zeros(n)))
        step = next_step
    return transitions


def reference(transitions: list[Transition], replay: Replay) -> list[dict[str, Any]]:
    """The transitions that can be sampled, by the definitions alone, in the ring's order."""
    rows, total = [], len(transitions)
    for begin in range(total):
        if begin - (replay.stack - 1) < total + 1 - replay.num_rows:
            continue  # a frame of its stack is overwritten
        for env in range(replay.num_envs):
            if transitions[begin].step.last[env]:
                continue
            rest = [t.next_step for t in transitions[begin:]]
            ends = [bool(s.last[env]) or s.discount[env] == 0 for s in rest]
            ended = True in ends
            length = ends.index(True) + 1 if ended else len(ends)
            if not ended and (replay.monte_carlo or length < replay.n_step):
                continue
            rewards = [float(s.reward[env]) for s in rest[:length]]
            steps = min(replay.n_step, length)
            dies = bool(rest[steps - 1].discount[env] == 0)
            complete = replay.monte_carlo and bool(rest[length - 1].discount[env] == 0)
            row = (begin + replay.stack - 1) % replay.num_rows
            rows.append(
                {
                    "cell": (row, env),
                    "obs": transitions[begin].step.obs[env],
                    "action": transitions[begin].action[env],
                    "reward": sum(r * replay.gamma**k for k, r in enumerate(rewards[:steps])),
                    "discount": 0.0 if dies else replay.gamma**steps,
                    "next_obs": rest[steps - 1].obs[env],
                    "returns": sum(r * replay.gamma**k for k, r in enumerate(rewards)),
                    "complete": complete,
                    "index": (begin + replay.stack - 1) * replay.num_envs + env,
                }
            )
    return sorted(rows, key=lambda row: row["cell"])


def check(replay: Replay, transitions: list[Transition]) -> None:
    expected = reference(transitions, replay)
    assert len(replay) == len(expected)
    if not expected:
        return
    batch = replay.gather(torch.arange(len(expected)))
    for i, row in enumerate(expected):
        for name in ("obs", "action", "next_obs"):
            assert torch.equal(getattr(batch, name)[i], row[name]), name
        for name in ("reward", "discount"):
            assert float(getattr(batch, name)[i]) == pytest.approx(row[name], abs=1e-4)
        assert bool(batch.complete[i]) == row["complete"]
        assert int(batch.index[i]) == row["index"], "whatever the ring has overwritten"
        if row["complete"]:
            assert float(batch.returns[i]) == pytest.approx(row["returns"], abs=1e-4)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_it_equals_the_reference(data: st.DataObject) -> None:
    num_envs, stack, channels, n_step = (data.draw(st.integers(1, 3)) for _ in range(4))
    num_rows = data.draw(st.integers(stack + n_step, 12))
    row = st.lists(
        st.sampled_from([GO, GO, GO, LIFE, DEATH, TIMEOUT]), min_size=num_envs, max_size=num_envs
    )
    outcomes = data.draw(st.lists(row, min_size=1, max_size=40))
    transitions = play(outcomes, stack, channels, midway=data.draw(st.booleans()))
    spec = EnvSpec(num_envs, 5, (stack * channels, 1, 2), channels)
    monte_carlo = data.draw(st.booleans())
    options: dict[str, Any] = {"gamma": 0.9, "n_step": n_step, "monte_carlo": monte_carlo}
    with mock.patch.object(replay_module, "BLOCK", data.draw(st.sampled_from([1, 4, 1024]))):
        replay = Replay(spec, capacity=num_rows * num_envs + num_envs - 1, **options)
        saved_at = data.draw(st.integers(0, len(transitions)))
        for t in transitions[:saved_at]:
            replay.append(t, t.next_step.reward)
        check(replay, transitions[:saved_at])
        state = copy.deepcopy(replay.state_dict())
        resumed = Replay(spec, capacity=num_rows * num_envs, seed=1, **options)
        resumed.load_state_dict(state)
        for t in transitions[saved_at:]:
            resumed.append(t, t.next_step.reward)
        check(resumed, transitions)


def full(seed: int = 0) -> Replay:
    """A replay of 700 transitions, the first 500 of them sampleable; actions are their indices."""
    replay = Replay(EnvSpec(1, 700, (2, 1, 2)), capacity=1000, gamma=0.9, seed=seed)
    outcomes = [[DEATH if i == 499 else GO] for i in range(700)]
    for i, t in enumerate(play(outcomes, 2, 1, midway=False)):
        t.action.fill_(i)
        replay.append(t, t.next_step.reward)
    return replay


def test_sampling_is_uniform_over_complete_episodes() -> None:
    replay = full()
    indices = torch.cat([replay.sample(1000).action for _ in range(50)])
    counts = torch.bincount(indices, minlength=700)
    assert counts[500:].sum() == 0
    chi_squared = float(((counts[:500] - 100.0) ** 2 / 100).sum())
    assert 499 - 5 * 32 < chi_squared < 499 + 5 * 32, "mean 499, standard deviation 32"


def test_samples_are_a_function_of_the_seed_and_continue_from_a_state() -> None:
    replay, same, other = full(), full(), full(seed=1)
    first = replay.sample(32).action
    assert torch.equal(first, same.sample(32).action)
    assert not torch.equal(first, other.sample(32).action)
    other.load_state_dict(copy.deepcopy(replay.state_dict()))
    second = replay.sample(32).action
    assert not torch.equal(first, second)
    assert torch.equal(second, other.sample(32).action)


def test_a_million_frames_take_less_than_7_3_gigabytes() -> None:
    replay = Replay(EnvSpec(32, 18, (4, 84, 84)), capacity=10**6, gamma=0.99, device="meta")
    tensors = [x for x in vars(replay).values() if isinstance(x, Tensor)]
    assert replay.num_rows * replay.num_envs == 10**6
    assert 7.0e9 < sum(x.numel() * x.element_size() for x in tensors) < 7.3e9


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's page counts")
def test_host_memory_grows_only_as_the_ring_fills() -> None:
    def resident() -> int:
        return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

    before = resident()
    replay = Replay(EnvSpec(8, 18, (4, 84, 84)), capacity=10**6, gamma=0.99)
    assert replay.frames.nbytes > 7e9
    assert resident() - before < 2e8


def test_a_too_small_capacity_is_refused_with_the_smallest_valid_one() -> None:
    spec = EnvSpec(8, 18, (4, 84, 84))
    with pytest.raises(UsageError, match=r"agent.buffer_size is 30, .* it must be 40 or more"):
        Replay(spec, capacity=30, gamma=0.99)
    with pytest.raises(UsageError, match=r"agent.model_buffer_size is 30, "):
        Replay(spec, capacity=30, gamma=0.99, setting="agent.model_buffer_size")
    Replay(spec, capacity=40, gamma=0.99)


def test_a_capacity_beyond_the_memory_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"agent.buffer_size is 10000000000000,"):
        Replay(EnvSpec(10**12, 18, (4, 840, 840)), capacity=10**13, gamma=0.99)


def test_segments_lie_within_one_episode_and_have_its_rewards() -> None:
    """The env's pixels are the timestep in the episode, and its rewards are 1, 2, 4."""
    envs = BatchedEnv(ScriptedEnv(4))
    replay = Replay(envs.spec, capacity=200, gamma=1.0, monte_carlo=False)
    for t in islice(interact(envs, RandomPolicy(2)), 90):
        replay.append(t, t.next_step.reward)
    for timesteps in (1, 2, 3):
        segment = replay.sample_segments(50, timesteps)
        time = segment.obs[:, :, 0, 0, 0].long()
        assert torch.equal(time, time[:, :1] + torch.arange(timesteps + 1))
        assert torch.equal(segment.reward, 2.0 ** time[:, :-1])
        assert segment.valid.all()
        assert torch.equal(segment.last[:, -1], time[:, -1] == 3)
        assert set(time[:, 0].tolist()) == set(range(4 - timesteps))
    segment = replay.sample_segments(50, 5)  # longer than any episode
    time = segment.obs[:, :, 0, 0, 0].long()
    length = segment.valid.long().sum(1)
    assert (length <= 3 - time[:, 0]).all()
    assert length.min() >= 1


def test_a_segment_ends_at_the_newest_observation() -> None:
    """Which has no action yet: what the ring holds beyond it is of no segment."""
    outcomes = [[GO]] * 6
    transitions = play(outcomes, 1, 1, midway=False)
    replay = Replay(EnvSpec(1, 5, (1, 1, 2)), capacity=50, gamma=1.0, monte_carlo=False)
    for t in transitions:
        replay.append(t, t.next_step.reward)
    frames = torch.stack([*(t.step.frame for t in transitions), transitions[-1].next_step.frame])
    segment = replay.sample_segments(30, 8)
    length = segment.valid.long().sum(1)
    assert set(length.tolist()) == {1, 2, 3, 4, 5, 6}
    for row, steps in enumerate(length.tolist()):
        assert torch.equal(segment.obs[row, : steps + 1], frames[6 - steps :, 0])
        assert segment.last[row].tolist() == [False] * steps + [True] * (9 - steps)


def test_a_fraction_of_the_segments_have_an_event() -> None:
    """A rare reward at the second of three steps, or a death at the last one of even envs."""
    envs = BatchedEnv(ScriptedEnv(4))
    replay = Replay(envs.spec, capacity=400, gamma=1.0, monte_carlo=False)
    for timestep, t in enumerate(islice(interact(envs, RandomPolicy(2)), 90)):
        time = t.next_step.obs[:, 0, 0, 0]
        rare = (time == 2) & (torch.arange(4) == 3) & (timestep > 60)
        replay.append(t, rare.float())
    for timesteps in (1, 2, 3):
        segment = replay.sample_segments(40, timesteps, 0.75)
        rewarded, died = segment.reward != 0, (segment.discount == 0) & segment.valid
        assert (rewarded | died)[:30].any(1).all()
        assert segment.valid.all()
        assert not (rewarded | died)[30:].any(1).all()
        steps = {1: {0}, 2: {0, 1}, 3: {1}}[timesteps]
        assert set(rewarded[:30].nonzero()[:, 1].tolist()) == steps, "wherever it can be"
        time = segment.obs[:, :, 0, 0, 0].long()
        assert torch.equal(time, time[:, :1] + torch.arange(timesteps + 1))


def test_without_an_event_segments_are_drawn_uniformly() -> None:
    envs = BatchedEnv(ScriptedEnv(4))
    replays = [Replay(envs.spec, capacity=400, gamma=1.0, monte_carlo=False) for _ in range(2)]
    for t in islice(interact(envs, RandomPolicy(2)), 2):
        for replay in replays:
            replay.append(t, torch.zeros(4))
    a, b = (replay.sample_segments(9, 1, x) for replay, x in zip(replays, (0.5, 0.0), strict=True))
    assert torch.equal(a.obs, b.obs)
    assert torch.equal(replays[0].rng, replays[1].rng)


def test_whole_observations_count_as_all_their_frames() -> None:
    """So that the memory of a buffer does not depend on what is stored of an observation."""
    spec = EnvSpec(2, 3, (4, 6, 6))
    newest = Replay(spec, capacity=80, gamma=1.0)
    whole = Replay(replace(spec, padding="stored"), capacity=80, gamma=1.0)
    assert newest.frames.numel() == whole.frames.numel()
    assert whole.num_rows == 10
    with pytest.raises(UsageError, match="it must be 16 or more"):
        Replay(replace(spec, padding="stored"), capacity=15, gamma=1.0)
