"""Protocols on real games, and the agreement of a replica with its env."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reverie.envs import prng
from reverie.envs.atari.atari import Atari, AtariConfig
from reverie.envs.atari.games import (
    ATARI26,
    ATARI57,
    HARD_EXPLORATION,
    all_games,
    expand_games,
    human_normalized,
)
from reverie.envs.atari.protocol import PROTOCOLS, AtariProtocol
from reverie.envs.atari.replica import NOOP, ReplicaEmulator
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import DISCOUNT

UP = 1  # Freeway's minimal actions: NOOP, UP, DOWN
RAW: dict[str, Any] = {
    "stack": 1,
    "height": 210,
    "width": 160,
    "grayscale": False,
    "maxpool": False,
}


def test_the_named_protocols_are_the_published_ones() -> None:
    table = {
        # sticky, noops, fire, all 18, life loss, cap, skip, maxpool, stack, size, epsilon
        "mfec": (0.0, 30, False, False, False, 108_000, 4, True, 1, (84, 84), 0.005),
        "nature": (0.0, 30, True, False, True, 108_000, 4, True, 4, (84, 84), 0.05),
        "machado": (0.25, 0, False, True, False, 108_000, 4, True, 4, (84, 84), 0.001),
        "atari100k": (0.0, 30, False, False, True, 108_000, 4, True, 4, (84, 84), 0.001),
        "deterministic": (0.0, 0, False, True, True, 108_000, 4, False, 1, (210, 160), 0.0),
    }
    for name, p in PROTOCOLS.items():
        assert p.label == name
        assert table[name] == (
            p.sticky, p.noops, p.fire_reset, p.full_actions, p.life_loss, p.frames_cap, p.skip,
            p.maxpool, p.stack, (p.height, p.width), p.eval_epsilon,
        )  # fmt: skip
    assert set(PROTOCOLS) == set(table)
    assert replace(PROTOCOLS["mfec"], stack=4).label == "mfec with stack 4"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_frames_per_agent_step(name: str) -> None:
    env = Atari("breakout", 4, PROTOCOLS[name], threads=1)
    _, info = env.reset(seed=[1, 2, 3, 4])
    before = info["frame_number"]
    for _ in range(10):
        info = env.step(np.ones(4, np.int64))[4]
        assert (info["frame_number"] - before == PROTOCOLS[name].skip).all()
        before = info["frame_number"]
    assert env.single_action_space.n == (18 if PROTOCOLS[name].full_actions else 4)


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_probability_of_sticky_actions(sticky: float) -> None:
    """The distribution of the delay of a new action, in frames, over many seeds.

    In deterministic Freeway every delay leaves the chicken at another place, which identifies it.
    """
    # Episodes of five agent steps: each begins in the same state, with other random numbers.
    protocol = AtariProtocol("probe", sticky=sticky, noops=0, frames_cap=20, **RAW)
    replica = ReplicaEmulator("freeway", replace(protocol, sticky=0.0))
    screens = []
    for delay in range(9):
        replica.reset(0)
        for frame in range(16):
            replica.ale.act(replica.actions[UP if frame >= 8 + delay else NOOP])
        screens.append(replica.screen)
    assert all((screens[i] != screens[j]).any() for i in range(9) for j in range(i)), (
        "delays cannot be identified"
    )

    counts = np.zeros(9)
    env = Atari("freeway", 16, protocol, threads=1)
    env.reset(
        seed=prng.env_seeds(0, prng.Purpose.EVAL, torch.zeros(16, dtype=torch.int64)).tolist()
    )
    for _ in range(20):
        for action in (NOOP, NOOP, UP, UP, NOOP, NOOP):  # the last is the reset step
            obs, *_, info = env.step(np.full(16, action))
            if info["episode_frame_number"][0] == 16:
                for i in range(16):
                    counts[
                        [bool((obs[i, 0] == screen).all()) for screen in screens].index(True)
                    ] += 1
    assert counts.sum() == 320
    observed = counts / counts.sum()
    expected = [sticky**d * (1 - sticky) for d in range(8)] + [sticky**8]
    for share, p in zip(observed, expected, strict=True):
        assert abs(share - p) <= 3.5 * (p * (1 - p) / counts.sum()) ** 0.5 + 0.01
    assert (observed[0] == 1) == (sticky == 0)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("game", ["breakout", "ms_pacman"])
def test_a_replica_agrees_with_its_env(name: str, game: str) -> None:
    """Rewards, ends and screens agree, through no-op frames, FIRE, sticky actions and resets."""
    protocol = replace(PROTOCOLS[name], **RAW, frames_cap=1200)
    env = Atari(game, 2, protocol, threads=1)
    seeds = [11, 12]
    obs, _ = env.reset(seed=seeds)
    replica = ReplicaEmulator(game, protocol)
    replica.reset(seeds[1])
    assert (replica.screen == obs[1, 0]).all()
    generator = np.random.default_rng(0)
    ends = 0
    for _ in range(700):
        actions = generator.integers(env.single_action_space.n, size=2)
        obs, reward, terminated, truncated, _ = env.step(actions)
        assert replica.step(int(actions[1])) == reward[1]
        done = bool(terminated[1] | truncated[1])
        assert replica.done == done
        if not done:  # the vector environment does not show the last frame of an episode
            assert (replica.screen == obs[1, 0]).all()
        ends += done
        assert replica.ram.shape == (128,)
    assert ends >= 2


def test_an_emulator_continues_from_a_snapshot() -> None:
    """With sticky actions and over the ends of episodes, whose chance is seeded anew."""
    protocol = replace(PROTOCOLS["machado"], frames_cap=400, noops=30, fire_reset=True)
    emulator = ReplicaEmulator("breakout", protocol)
    emulator.reset(3)
    while not emulator.life_lost:
        emulator.step(0)
    snapshot = emulator.save()
    memories = []
    for _ in range(2):
        emulator.restore(snapshot)
        emulator.seed_chance(5)
        for _ in range(10):
            emulator.step(0)
        memories.append(emulator.ram.tobytes())
    assert memories[0] == memories[1], "FIRE is pressed again"
    generator = np.random.default_rng(0)
    for _ in range(20):
        emulator.step(int(generator.integers(4)))
    snapshot, actions = emulator.save(), generator.integers(len(emulator.actions), size=150)
    played = []
    for seed in (1, 1, 2):
        emulator.restore(snapshot)
        emulator.seed_chance(seed)
        played.append([(emulator.step(int(x)), emulator.ram.tobytes()) for x in actions])
        played[-1].append((float(emulator.frames), emulator.screen.tobytes()))
        assert len(emulator.save()) == len(snapshot)
    assert played[0] == played[1]
    assert played[0] != played[2]


SHORT_LIVES = replace(PROTOCOLS["nature"], **RAW, noops=0)


class RecordingAtari(Atari):
    """Atari that keeps the actions that its emulators get."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sent: list[list[int]] = []

    def send(self, actions: Any) -> None:
        self.sent.append(actions.tolist())
        super().send(actions)


def lost_lives(env: Atari, timesteps: int) -> tuple[list[Any], list[Any]]:
    """Press NOOP; return env 0's frames and lives, from the reset on."""
    obs, info = env.reset(seed=[5] * env.num_envs)
    frames, lives = [obs[0].copy()], [int(info["lives"][0])]
    for _ in range(timesteps):
        obs, *_, info = env.step(np.zeros(env.num_envs, np.int64))
        frames.append(obs[0].copy())
        lives.append(int(info["lives"][0]))
    return frames, lives


@pytest.mark.parametrize("full_actions", [False, True])
def test_fire_is_pressed_at_the_start_of_every_life(full_actions: bool) -> None:
    """Breakout waits for FIRE: without it no pixel changes after a lost life."""
    protocol = replace(SHORT_LIVES, full_actions=full_actions)
    frames, lives = lost_lives(Atari("breakout", 1, protocol, threads=1), 300)
    lost = lives.index(4)
    assert any((frames[lost + i] != frames[lost + 10]).any() for i in range(11, 20))
    assert lives[-1] <= 3, "the next life is played too"


def test_no_fire_is_pressed_where_the_protocol_or_the_game_has_none() -> None:
    """Breakout without ``fire_reset``, and Freeway, which has no FIRE."""
    waiting = replace(SHORT_LIVES, fire_reset=False)
    for game, protocol in (("breakout", waiting), ("freeway", SHORT_LIVES)):
        env = RecordingAtari(game, 1, protocol, threads=1)
        env.reset(seed=[5])
        generator = np.random.default_rng(0)
        actions = generator.integers(env.single_action_space.n, size=400)
        for action in actions:
            env.step(action[None])
        assert env.sent == actions[:, None].tolist()


def test_a_masked_reset_after_a_lost_life_forgets_it() -> None:
    """The reset env plays as one that never lost a life, the other presses its FIRE."""
    env, fresh = (RecordingAtari("breakout", n, SHORT_LIVES, threads=1) for n in (2, 1))
    lost = lost_lives(env, 300)[1].index(4)
    lost_lives(env, lost)
    env.reset(seed=[9, 9], options={"reset_mask": np.array([True, False])})
    fresh.reset(seed=[9])
    env.sent.clear()
    for _ in range(20):
        obs, expected = env.step(np.zeros(2, np.int64))[0], fresh.step(np.zeros(1, np.int64))[0]
        assert (obs[0] == expected[0]).all()
    assert env.sent == [[0, 1]] + [[0, 0]] * 19


class ExtraLife(RecordingAtari):
    """Breakout with an extra life at the end of an episode."""

    def recv(self) -> Any:
        *results, info = super().recv()
        return *results, info | {"lives": info["lives"] + np.asarray(results[3])}


def test_no_life_is_lost_by_the_reset_after_an_extra_life() -> None:
    """The next episode begins with fewer lives than the one that a time-out ended."""
    env = ExtraLife("breakout", 1, replace(SHORT_LIVES, frames_cap=20), threads=1)
    env.reset(seed=[5])
    truncated = 0
    for _ in range(30):
        *_, ended, info = env.step(np.zeros(1, np.int64))
        truncated += int(ended[0])
        assert info[DISCOUNT][0] == 1
    assert truncated == 5
    assert env.sent == [[NOOP]] * 30, "no FIRE replaces the first action of an episode"


def test_a_run_resumes_between_a_lost_life_and_its_fire() -> None:
    """The log of actions is replayed through the protocol, which presses FIRE again."""
    config = AtariConfig("breakout", replace(SHORT_LIVES, stack=1, noops=30))
    straight = BatchedEnv(config.build(2, threads=1), seed=3)
    straight.reset()
    noop = torch.zeros(2, dtype=torch.int64)
    timesteps = 0
    while (step := straight.step(noop)).discount.all():
        timesteps += 1
    assert not step.last.any(), "a life is lost, and the episode goes on"
    resumed = BatchedEnv(config.build(2, threads=1), seed=3)
    assert torch.equal(resumed.load_state_dict(straight.state_dict()), step.obs)
    before = step.obs
    for _ in range(20):
        a, b = straight.step(noop), resumed.step(noop)
        for name, x in a.columns().items():
            assert torch.equal(x, b.columns()[name]), name
    assert (a.obs != before).any()


def test_a_followed_env_keeps_its_emulator_in_sync() -> None:
    """Through episodes' ends and masked, seeded resets; rewards that differ raise an error."""
    protocol = replace(PROTOCOLS["machado"], **RAW, frames_cap=400)
    env = Atari("breakout", 3, protocol, threads=1)
    replica = env.follow(1)
    assert env.follow(1) is replica
    env.reset(seed=[5, 6, 7])
    generator = np.random.default_rng(1)
    for timestep in range(250):
        if timestep == 120:
            mask = np.array([False, True, False])
            env.reset(seed=[1, 2, 3], options={"reset_mask": mask})
        obs, _, terminated, truncated, _ = env.step(generator.integers(18, size=3))
        if not (terminated[1] or truncated[1]):
            assert (replica.screen == obs[1, 0]).all()
    replica.reset(99)
    actions = generator.integers(18, size=(300, 3))
    with pytest.raises(RuntimeError, match="replica of env 1 of breakout diverged"):
        any(env.step(x) is None for x in actions)


def test_range_of_no_op_frames() -> None:
    env = Atari("ms_pacman", 8, PROTOCOLS["mfec"], threads=1)
    noops: set[int] = set()
    for round_ in range(6):
        _, info = env.reset(seed=list(range(8 * round_, 8 * round_ + 8)))
        noops |= set(info["episode_frame_number"].tolist())
    assert min(noops) == 0
    assert max(noops) == 29
    assert len(noops) > 20


def test_invalid_protocols_are_refused() -> None:
    for wrong in ({"skip": 0}, {"sticky": 1.5}, {"stack": 0}, {"grayscale": False, "stack": 4}):
        with pytest.raises(UsageError):
            replace(PROTOCOLS["mfec"], **wrong)


def test_game_lists() -> None:
    assert (len(ATARI26), len(ATARI57), len(HARD_EXPLORATION)) == (26, 57, 7)
    assert set(ATARI26) | set(HARD_EXPLORATION) <= set(ATARI57) <= set(all_games())
    assert expand_games("atari26") == ATARI26
    assert expand_games("pong, breakout,pong") == ("pong", "breakout")
    with pytest.raises(UsageError, match="Did you mean ms_pacman"):
        expand_games("mspacman")
    with pytest.raises(UsageError, match="No game"):
        expand_games(",")


def test_human_normalized_scores() -> None:
    assert human_normalized("ms_pacman", 307.3) == 0
    assert human_normalized("ms_pacman", 6951.6) == 1
    assert human_normalized("breakout", 16.1) == pytest.approx(0.5)
    assert human_normalized("catch", 1.0) is None
