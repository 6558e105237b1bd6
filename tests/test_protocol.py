"""The protocols are what they claim, proved on real games; the shadow is the stream."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs import dice
from envs.atari import Atari
from envs.errors import UsageError
from envs.games import ATARI26, ATARI57, HARD, all_games, expand_games, human_normalised
from envs.protocol import PROTOCOLS, AtariProtocol
from envs.shadow import FIRE, NOOP, Shadow

UP = 1  # Freeway's minimal actions: NOOP, UP, DOWN
RAW = {"stack": 1, "height": 210, "width": 160, "grey": False, "maxpool": False}


def test_the_named_protocols_are_the_published_ones() -> None:
    table = {
        # sticky, noops, fire, all 18, life loss, cap, skip, maxpool, stack, size, epsilon
        "mfec": (0.0, 30, False, False, False, 108_000, 4, True, 1, 84, 0.005),
        "nature": (0.0, 30, True, False, True, 108_000, 4, True, 4, 84, 0.05),
        "machado": (0.25, 0, False, True, False, 108_000, 4, True, 4, 84, 0.001),
        "atari100k": (0.0, 30, False, False, True, 108_000, 4, True, 4, 84, 0.001),
    }
    for name, p in PROTOCOLS.items():
        assert p.height == p.width
        assert p.label == name
        assert table[name] == (
            p.sticky, p.noops, p.fire_reset, p.full_actions, p.life_loss, p.frames_cap, p.skip,
            p.maxpool, p.stack, p.width, p.eval_epsilon,
        )  # fmt: skip
    assert set(PROTOCOLS) == set(table)
    assert replace(PROTOCOLS["mfec"], stack=4).label == "mfec with stack 4"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_agent_step_is_as_many_frames_as_claimed(name: str) -> None:
    env = Atari("breakout", 4, PROTOCOLS[name], threads=1)
    _, info = env.reset(seed=[1, 2, 3, 4])
    before = info["frame_number"]
    for _ in range(10):
        info = env.step(np.ones(4, np.int64))[4]
        assert (info["frame_number"] - before == PROTOCOLS[name].skip).all()
        before = info["frame_number"]
    assert env.single_action_space.n == (18 if name == "machado" else 4)


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_actions_stick_as_often_as_claimed(sticky: float) -> None:
    """For how many frames the emulator keeps the action before a new one, over many seeds.

    In deterministic Freeway each such delay leaves the chicken elsewhere, which tells them apart.
    """
    # Episodes of five agent steps: each begins in the same state, with other dice.
    protocol = AtariProtocol("probe", sticky=sticky, noops=0, frames_cap=20, **RAW)
    shadow = Shadow("freeway", replace(protocol, sticky=0.0))
    looks = []
    for delay in range(9):
        shadow.seed(0)
        for frame in range(16):
            shadow.ale.act(shadow.actions[UP if frame >= 8 + delay else NOOP])
        looks.append(shadow.screen)
    assert all((looks[i] != looks[j]).any() for i in range(9) for j in range(i)), "not told apart"

    counts = np.zeros(9)
    env = Atari("freeway", 16, protocol, threads=1)
    env.reset(seed=dice.env_seeds(0, "eval", torch.zeros(16, dtype=torch.int64)).tolist())
    for _ in range(20):
        for action in (NOOP, NOOP, UP, UP, NOOP, NOOP):  # the last is the reset tick
            obs, *_, info = env.step(np.full(16, action))
            if info["episode_frame_number"][0] == 16:
                for i in range(16):
                    counts[[bool((obs[i, 0] == look).all()) for look in looks].index(True)] += 1
    assert counts.sum() == 320
    share = counts / counts.sum()
    expected = [sticky**d * (1 - sticky) for d in range(8)] + [sticky**8]
    for got, p in zip(share, expected, strict=True):
        assert abs(got - p) <= 3.5 * (p * (1 - p) / counts.sum()) ** 0.5 + 0.01
    assert (share[0] == 1) == (sticky == 0)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("game", ["breakout", "ms_pacman"])
def test_a_shadow_is_its_stream(name: str, game: str) -> None:
    """Rewards, ends and whole screens agree, through idle frames, FIRE, sticky actions, resets."""
    protocol = replace(PROTOCOLS[name], **RAW, frames_cap=1200)
    env = Atari(game, 2, protocol, threads=1)
    seeds = [11, 12]
    obs, _ = env.reset(seed=seeds)
    shadow = Shadow(game, protocol)
    shadow.seed(seeds[1])
    assert (shadow.screen == obs[1, 0]).all()
    generator = np.random.default_rng(0)
    ends = 0
    for _ in range(700):
        actions = generator.integers(env.single_action_space.n, size=2)
        obs, reward, terminated, truncated, _ = env.step(actions)
        assert shadow.step(int(actions[1])) == reward[1]
        over = bool(terminated[1] | truncated[1])
        assert shadow.over == over
        if not over:  # the vector environment does not capture the frame that ended an episode
            assert (shadow.screen == obs[1, 0]).all()
        ends += over
        assert shadow.ram.shape == (128,)
    assert ends >= 2
    twin = shadow.clone_state()
    shadow.ale.act(FIRE)
    shadow.ale.restoreState(twin)
    assert shadow.clone_state() == twin


def test_idle_frames_are_as_many_as_the_protocol_says() -> None:
    env = Atari("ms_pacman", 8, PROTOCOLS["mfec"], threads=1)
    seen: set[int] = set()
    for round_ in range(6):
        _, info = env.reset(seed=list(range(8 * round_, 8 * round_ + 8)))
        seen |= set(info["episode_frame_number"].tolist())
    assert min(seen) == 0
    assert max(seen) == 29
    assert len(seen) > 20


def test_protocols_that_cannot_be_are_refused() -> None:
    for wrong in ({"skip": 0}, {"sticky": 1.5}, {"stack": 0}, {"grey": False, "stack": 4}):
        with pytest.raises(UsageError):
            replace(PROTOCOLS["mfec"], **wrong)


def test_game_lists() -> None:
    assert (len(ATARI26), len(ATARI57), len(HARD)) == (26, 57, 7)
    assert set(ATARI26) | set(HARD) <= set(ATARI57) <= set(all_games())
    assert expand_games("atari26") == ATARI26
    assert expand_games("pong, breakout,pong") == ("pong", "breakout")
    with pytest.raises(UsageError, match="Did you mean ms_pacman"):
        expand_games("mspacman")
    with pytest.raises(UsageError, match="No game"):
        expand_games(",")


def test_human_normalised_scores() -> None:
    assert human_normalised("ms_pacman", 307.3) == 0
    assert human_normalised("ms_pacman", 6951.6) == 1
    assert human_normalised("breakout", 16.1) == pytest.approx(0.5)
    assert human_normalised("catch", 1.0) is None
