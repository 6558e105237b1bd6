"""Replay against a reference that keeps everything, and its promises about memory and chance."""

import copy
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from worlds import Scripted

from agents import replay as module
from agents.loop import interact
from agents.policies import RandomPolicy
from agents.replay import Replay
from envs.errors import UsageError
from envs.interface import EnvSpec, Step, Transition
from envs.stream import Stream

GO, LIFE, DEATH, TIMEOUT = range(4)


def play(outcomes: list[list[int]], depth: int, colours: int, *, midway: bool) -> list[Transition]:
    """Streams of random frames and rewards, in which these things happen, reset as by emulators."""
    generator = torch.Generator().manual_seed(len(outcomes))

    def look() -> Tensor:
        return torch.randint(1, 256, (n, colours, 1, 2), dtype=torch.uint8, generator=generator)

    n = len(outcomes[0])
    stack = torch.zeros(n, depth, colours, 1, 2, dtype=torch.uint8)
    for k in range(depth if midway else 1):
        stack[:, depth - 1 - k] = look()
    flags = torch.full((n,), not midway), torch.zeros(n, dtype=torch.bool)
    step = Step(stack.flatten(1, 2), torch.zeros(n), torch.ones(n), *flags, stack[:, -1])
    ticks = []
    for row in outcomes:
        happens, born = torch.tensor(row), step.last
        stack = torch.cat([stack[:, 1:] * ~born[:, None, None, None, None], look()[:, None]], 1)
        next_step = Step(
            obs=stack.flatten(1, 2),
            reward=torch.randint(-3, 4, (n,), generator=generator).float(),
            discount=torch.where(~born & ((happens == LIFE) | (happens == DEATH)), 0.0, 1.0),
            first=born,
            last=~born & (happens >= DEATH),
            frame=stack[:, -1],
        )
        action = torch.randint(0, 5, (n,), generator=generator)
        ticks.append(Transition(step, {}, action, next_step, {}, torch.zeros(n)))
        step = next_step
    return ticks


def reference(ticks: list[Transition], replay: Replay) -> list[dict[str, Any]]:
    """What can be drawn, by the definitions alone, in the ring's order."""
    found, total = [], len(ticks)
    for begin in range(total):
        if begin - (replay.depth - 1) < total + 1 - replay.ticks:
            continue  # a frame of its stack is gone
        for lane in range(replay.lanes):
            if ticks[begin].step.last[lane]:
                continue
            rest = [t.next_step for t in ticks[begin:]]
            over = [bool(s.last[lane]) or s.discount[lane] == 0 for s in rest]
            ended = True in over
            length = over.index(True) + 1 if ended else len(over)
            if not ended and (replay.monte_carlo or length < replay.n_step):
                continue
            rewards = [float(s.reward[lane]) for s in rest[:length]]
            steps = min(replay.n_step, length)
            dies = bool(rest[steps - 1].discount[lane] == 0)
            known = replay.monte_carlo and bool(rest[length - 1].discount[lane] == 0)
            row = (begin + replay.depth - 1) % replay.ticks
            found.append(
                {
                    "place": (row, lane),
                    "obs": ticks[begin].step.obs[lane],
                    "action": ticks[begin].action[lane],
                    "reward": sum(r * replay.gamma**k for k, r in enumerate(rewards[:steps])),
                    "discount": 0.0 if dies else replay.gamma**steps,
                    "next_obs": rest[steps - 1].obs[lane],
                    "returns": sum(r * replay.gamma**k for k, r in enumerate(rewards)),
                    "complete": known,
                }
            )
    return sorted(found, key=lambda transition: transition["place"])


def check(replay: Replay, ticks: list[Transition]) -> None:
    expected = reference(ticks, replay)
    assert len(replay) == len(expected)
    if not expected:
        return
    batch = replay.take(torch.arange(len(expected)))
    for i, transition in enumerate(expected):
        for name in ("obs", "action", "next_obs"):
            assert torch.equal(getattr(batch, name)[i], transition[name]), name
        for name in ("reward", "discount"):
            assert float(getattr(batch, name)[i]) == pytest.approx(transition[name], abs=1e-4)
        assert bool(batch.complete[i]) == transition["complete"]
        if transition["complete"]:
            assert float(batch.returns[i]) == pytest.approx(transition["returns"], abs=1e-4)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_it_holds_what_a_reference_holds(data: st.DataObject) -> None:
    lanes, depth, colours, n_step = (data.draw(st.integers(1, 3)) for _ in range(4))
    room = data.draw(st.integers(depth + n_step, 12))
    row = st.lists(
        st.sampled_from([GO, GO, GO, LIFE, DEATH, TIMEOUT]), min_size=lanes, max_size=lanes
    )
    outcomes = data.draw(st.lists(row, min_size=1, max_size=40))
    ticks = play(outcomes, depth, colours, midway=data.draw(st.booleans()))
    spec = EnvSpec(lanes, 5, (depth * colours, 1, 2), colours)
    monte_carlo = data.draw(st.booleans())
    with mock.patch.object(module, "BLOCK", data.draw(st.sampled_from([1, 4, 1024]))):
        replay = Replay(
            spec,
            capacity=room * lanes + lanes - 1,
            gamma=0.9,
            n_step=n_step,
            monte_carlo=monte_carlo,
        )
        cut = data.draw(st.integers(0, len(ticks)))
        for t in ticks[:cut]:
            replay.append(t, t.next_step.reward)
        check(replay, ticks[:cut])
        state = copy.deepcopy(replay.state_dict())
        again = Replay(
            spec, capacity=room * lanes, gamma=0.9, n_step=n_step, monte_carlo=monte_carlo, seed=1
        )
        again.load_state_dict(state)
        for t in ticks[cut:]:
            again.append(t, t.next_step.reward)
        check(again, ticks)


def full(seed: int = 0) -> Replay:
    """A replay of 700 transitions, of which 500 can be drawn; the action says which."""
    replay = Replay(EnvSpec(1, 700, (2, 1, 2)), capacity=1000, gamma=0.9, seed=seed)
    outcomes = [[DEATH if i == 499 else GO] for i in range(700)]
    for i, t in enumerate(play(outcomes, 2, 1, midway=False)):
        t.action.fill_(i)
        replay.append(t, t.next_step.reward)
    return replay


def test_draws_are_uniform_over_what_can_be_drawn() -> None:
    replay = full()
    drawn = torch.cat([replay.sample(1000).action for _ in range(50)])
    counts = torch.bincount(drawn, minlength=700)
    assert counts[500:].sum() == 0
    chi_squared = float(((counts[:500] - 100.0) ** 2 / 100).sum())
    assert 499 - 5 * 32 < chi_squared < 499 + 5 * 32, "mean 499, standard deviation 32"


def test_draws_are_a_function_of_the_seed_and_continue_from_a_state() -> None:
    replay, twin, other = full(), full(), full(seed=1)
    first = replay.sample(32).action
    assert torch.equal(first, twin.sample(32).action)
    assert not torch.equal(first, other.sample(32).action)
    other.load_state_dict(copy.deepcopy(replay.state_dict()))
    second = replay.sample(32).action
    assert not torch.equal(first, second)
    assert torch.equal(second, other.sample(32).action)


def test_a_million_frames_take_less_than_7_3_gigabytes() -> None:
    replay = Replay(EnvSpec(32, 18, (4, 84, 84)), capacity=10**6, gamma=0.99, device="meta")
    held = [x for x in vars(replay).values() if isinstance(x, Tensor)]
    assert replay.ticks * replay.lanes == 10**6
    assert 7.0e9 < sum(x.numel() * x.element_size() for x in held) < 7.3e9


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's page counts")
def test_host_memory_grows_only_as_the_ring_fills() -> None:
    def resident() -> int:
        return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

    before = resident()
    replay = Replay(EnvSpec(8, 18, (4, 84, 84)), capacity=10**6, gamma=0.99)
    assert replay.frames.nbytes > 7e9
    assert resident() - before < 2e8


def test_too_small_a_capacity_is_refused_with_the_least_that_would_do() -> None:
    spec = EnvSpec(8, 18, (4, 84, 84))
    with pytest.raises(UsageError, match=r"agent.capacity is 30, .* it must be 40 or more"):
        Replay(spec, capacity=30, gamma=0.99)
    Replay(spec, capacity=40, gamma=0.99)


def test_more_frames_than_memory_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"agent.capacity is 10000000000000,"):
        Replay(EnvSpec(10**12, 18, (4, 840, 840)), capacity=10**13, gamma=0.99)


def test_segments_are_pieces_of_one_episode_with_their_rewards() -> None:
    """`Scripted` shows its time and pays 1, 2, 4; a piece never goes on past an episode's end."""
    stream = Stream(Scripted(4))
    replay = Replay(stream.spec, capacity=200, gamma=1.0, monte_carlo=False)
    for t in islice(interact(stream, RandomPolicy(2)), 90):
        replay.append(t, t.next_step.reward)
    for ticks in (1, 2, 3):
        piece = replay.segments(50, ticks)
        time = piece.obs[:, :, 0, 0, 0].long()
        assert torch.equal(time, time[:, :1] + torch.arange(ticks + 1))
        assert torch.equal(piece.reward, 2.0 ** time[:, :-1])
        assert piece.valid.all()
        assert torch.equal(piece.last[:, -1], time[:, -1] == 3)
        assert set(time[:, 0].tolist()) == set(range(4 - ticks))
    long = replay.segments(50, 5)  # there is none such: what is over has no weight
    time = long.obs[:, :, 0, 0, 0].long()
    within = long.valid.long().sum(1)
    assert (within <= 3 - time[:, 0]).all()
    assert within.min() >= 1
