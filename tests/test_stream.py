"""Laws of worlds, over every one in the table, and the seams of a Stream."""

import gc
import threading
import time
from itertools import islice

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from worlds import LAW_ENVS, WITHOUT_CHANCE, Scripted, Silent

from agents.loop import interact
from agents.policies import RandomPolicy
from envs import dice
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import EmulatorSilent, UsageError
from envs.interface import EnvConfig, Transition, step_state
from envs.protocol import PROTOCOLS
from envs.stream import Stream

each_env = pytest.mark.parametrize("env", LAW_ENVS, ids=lambda env: env.title)


def play(stream: Stream, ticks: int, seed: int = 0) -> list[Transition]:
    policy = RandomPolicy(stream.spec.num_actions, seed)
    return list(islice(interact(stream, policy), ticks))


def same(a: list[Transition], b: list[Transition]) -> bool:
    pairs = [(x.next_step, y.next_step) for x, y in zip(a, b, strict=True)]
    states = [(step_state(x), step_state(y)) for x, y in pairs]
    return all(torch.equal(x[name], y[name]) for x, y in states for name in x)


@each_env
def test_laws_of_a_world(env: EnvConfig) -> None:
    stream = Stream(env.build(4, threads=1), seed=1)
    transitions = play(stream, 300)
    stream.close()
    assert any(bool(t.next_step.last.any()) for t in transitions), "no episode ended"
    assert transitions[0].step.first.all()
    for t in transitions:
        step, following = t.step, t.next_step
        assert step.obs.shape == (4, *stream.spec.obs_shape)
        assert torch.equal(following.first, step.last), "an episode begins after the last's end"
        assert not (following.first & following.last).any()
        assert (following.reward[following.first] == 0).all(), "no reward at birth"
        assert (following.discount[following.first] == 1).all()
        assert ((following.discount == 0) | (following.discount == 1)).all()
        assert torch.equal(step.frame, step.obs[:, -stream.spec.colours :])


@each_env
def test_one_seed_is_one_world_and_neighbours_differ(env: EnvConfig) -> None:
    streams = [Stream(env.build(4, threads=1), seed=seed) for seed in (5, 5, 6)]
    a, b, c = (play(stream, 120) for stream in streams)
    assert same(a, b)
    assert same(a, c) == (env.title in WITHOUT_CHANCE)
    assert same(a, play(streams[0], 120)), "reset starts from the beginning"


@each_env
def test_a_restored_stream_goes_on_alike(env: EnvConfig) -> None:
    """The log replays, streams seeded anew in between included."""
    stream = Stream(env.build(4, threads=1), seed=2, reseed_after=60)
    loop = interact(stream, RandomPolicy(stream.spec.num_actions))
    before = list(islice(loop, 211))
    state = stream.state_dict()
    after = list(islice(loop, 40))
    twin = Stream(env.build(4, threads=1), seed=2, reseed_after=60)
    obs = twin.load_state_dict(state)
    assert torch.equal(obs, before[-1].next_step.obs)
    for t in after:
        step, expected = step_state(twin.step(t.action)), step_state(t.next_step)
        assert all(torch.equal(step[name], expected[name]) for name in step)
    assert torch.equal(twin.state_dict()["log"], stream.state_dict()["log"])


def test_streams_are_seeded_anew_only_at_their_births_and_logs_stay_short() -> None:
    stream = Stream(CatchConfig().build(4), seed=0, reseed_after=50)
    births = 0
    loop = interact(stream, RandomPolicy(stream.spec.num_actions))
    for _ in range(3000):
        number = stream.number.clone()
        t = next(loop)
        grown = stream.number != number
        assert not (grown & ~t.next_step.first).any()
        births += int(grown.sum())
        assert stream.length.max() < 50 + 20  # an episode of Catch has ten ticks
    assert births > 100
    assert len(stream._log) < 2000 * 4


def test_rewards_discounts_and_resets_of_a_known_world() -> None:
    stream = Stream(Scripted(2))
    first, steps = (
        stream.reset(),
        [stream.step(torch.zeros(2, dtype=torch.int64)) for _ in range(5)],
    )
    assert [s.reward.tolist() for s in steps] == [[1, 1], [2, 2], [4, 4], [0, 0], [1, 1]]
    assert [s.last.tolist()[0] for s in steps] == [False, False, True, False, False]
    assert [s.first.tolist()[0] for s in steps] == [False, False, False, True, False]
    assert steps[2].discount.tolist() == [0.0, 1.0], "death and time-out"
    # The world writes into one buffer; what was said before stays said.
    assert [int(s.obs[0].max()) for s in (first, *steps)] == [0, 1, 2, 3, 0, 1]


def test_lost_lives_end_the_discount_and_not_the_episode() -> None:
    """Under `nature` (life loss = discount 0) and not under `mfec`, in the same real games."""
    losses = {}
    for name in ("nature", "mfec"):
        stream = Stream(AtariConfig("breakout", PROTOCOLS[name]).build(4, threads=1), seed=0)
        lives = []
        for t in play(stream, 300):
            lives.append(int(((t.next_step.discount == 0) & ~t.next_step.last).sum()))
            assert (t.next_step.discount[t.next_step.last] == 0).all()
        losses[name] = sum(lives)
    assert losses["nature"] >= 8
    assert losses["mfec"] == 0


def test_layouts_become_channels_first() -> None:
    for shape, expected, colours in [
        ((2, 2), (1, 2, 2), 1),
        ((5, 3), (1, 5, 3), 1),
        ((4, 5, 6), (4, 5, 6), 1),
        ((5, 6, 3), (3, 5, 6), 3),
        ((1, 5, 6, 3), (3, 5, 6), 3),
    ]:
        stream = Stream(Scripted(2, shape=shape))
        assert stream.spec.obs_shape == expected
        assert stream.spec.colours == colours
        assert stream.reset().obs.shape == (2, *expected)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (Scripted(mode=AutoresetMode.SAME_STEP), "SAME_STEP"),
        (Scripted(mode=AutoresetMode.DISABLED), "DISABLED"),
        (Scripted(mode=None), "NEXT_STEP"),
        (Scripted(dtype=np.float32), "uint8"),
        (Scripted(shape=(3,)), "images"),
        (Scripted(actions=Box(-1, 1, (2,), np.float32)), "Discrete"),
        (Scripted(actions=Discrete(3, start=1)), "from 0"),
    ],
)
def test_worlds_a_stream_cannot_take_are_refused_by_name(env: Scripted, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Stream(env)


@pytest.mark.parametrize("action", [-1, 4, 99])
def test_an_action_out_of_range_is_refused_before_the_emulator_hangs(action: int) -> None:
    stream = Stream(AtariConfig("breakout").build(2, threads=1))
    stream.reset()
    with pytest.raises(UsageError, match=f"Action {action} of stream 1 .* 0..3"):
        stream.step(torch.tensor([0, action]))
    stream.step(torch.tensor([0, 1]))  # and nothing was lost


def test_a_silent_emulator_ends_the_wait_with_a_reason() -> None:
    stream = Stream(Silent(2), timeout=0.2)
    stream.reset()
    action = torch.zeros(2, dtype=torch.int64)
    stream.step(action)
    stream.step(action)
    with pytest.raises(EmulatorSilent, match=r"said nothing for 0.2 s at tick 2"):
        stream.step(action)


def test_a_stream_is_closed_at_the_end_of_its_tick() -> None:
    """As after Ctrl-C: ale_py's emulators abort the process when they are freed amid a tick."""
    env = Scripted(2)
    done: list[str] = []
    step, close = env.step, env.close
    env.step = lambda actions: (time.sleep(0.1), done.append("tick"), step(actions))[2]  # type: ignore[method-assign]
    env.close = lambda: (done.append("closed"), close())[1]  # type: ignore[method-assign]
    stream = Stream(env)
    stream.reset()
    stream.send(torch.zeros(2, dtype=torch.int64))
    stream.close()
    assert done == ["tick", "closed"]


def test_a_forgotten_stream_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        Stream(Scripted(2)).reset()
    gc.collect()
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(timeout=0.5)
    assert threading.active_count() <= before


def test_ticks_of_one_policy_differ_between_training_and_evaluation() -> None:
    numbers = torch.zeros(8, dtype=torch.int64)
    assert (dice.env_seeds(0, "train", numbers) != dice.env_seeds(0, "eval", numbers)).all()
