"""Envs as functions of a state, an action and a seed: every env that offers snapshots."""

from typing import Any

import numpy as np
import pytest
import torch

from reverie.envs.atari.atari import Atari, AtariConfig
from reverie.envs.atari.emulation import AtariDynamics, scaled_by_area
from reverie.envs.atari.protocol import PROTOCOLS, AtariProtocol
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.dynamics import Dynamics, HasDynamics
from reverie.envs.errors import RunError, UsageError
from reverie.envs.interface import DISCOUNT, EnvConfig, timestep_from_state, timestep_state
from reverie.envs.maze import MazeConfig
from reverie.envs.minatar import GAMES, MinAtarConfig
from reverie.envs.minatar_state import NUMBERS, GameState
from reverie.envs.pipeline import Pipeline

from sample_agents import SMALL_BREAKOUT
from sample_envs import EXAMPLES, LAW_ENVS

SHORT = AtariProtocol("short", sticky=0.0, noops=0, frames_cap=160)
EXACT: list[EnvConfig] = [
    *(x for name in ("catch", "deep-sea") for x in EXAMPLES[name]),
    MazeConfig(max_episode_steps=12),
    *(MinAtarConfig(game, sticky=0.0) for game in GAMES),
    AtariConfig("breakout", SHORT),
]
"""Envs whose chance, if they have any, is in the starts of episodes or of objects."""


def envs_with_dynamics() -> list[EnvConfig]:
    """Return the envs of the laws that offer snapshots, of which one is of Atari."""
    offering = [x for x in LAW_ENVS if not isinstance(x, AtariConfig)]
    return [x for x in offering if isinstance(x.build(1), HasDynamics)] + [SMALL_BREAKOUT]


def play(config: EnvConfig, n: int, timesteps: int) -> tuple[Any, Dynamics, np.random.Generator]:
    """Return an env after some random timesteps, and its dynamics."""
    env: Any = config.build(n, threads=1)
    dynamics, generator = env.dynamics(), np.random.default_rng(1)
    env.reset(seed=list(range(n)))
    for _ in range(timesteps):
        env.step(generator.integers(env.single_action_space.n, size=n))
    return env, dynamics, generator


@pytest.mark.parametrize("config", envs_with_dynamics(), ids=lambda x: x.env_name)
def test_what_follows_is_a_function_of_state_action_and_seed(config: EnvConfig) -> None:
    """It does not depend on the other rows, nor on what was stepped before."""
    env, dynamics, generator = play(config, 3, 20)
    before, seed = env.snapshots().copy(), generator.integers(2**31, size=3)
    assert before.shape == (3, dynamics.snapshot_size)
    action = generator.integers(env.single_action_space.n, size=3)
    outcome = dynamics.step(before, action, seed)
    rows = np.array([2, 0, 2, 1])
    again = dynamics.step(before[rows], action[rows], seed[rows])
    for name in ("snapshot", "frame", "reward", "discount", "last"):
        assert (getattr(again, name) == getattr(outcome, name)[rows]).all(), name
    assert (env.snapshots() == before).all(), "the env itself has not moved"
    assert outcome.frame.dtype == np.uint8
    env.close()


@pytest.mark.parametrize("config", EXACT, ids=lambda x: x.env_name)
def test_the_dynamics_are_those_of_the_env(config: EnvConfig) -> None:
    """Frames, rewards and ends, until chance decides."""
    env, dynamics, generator = play(config, 4, 7)
    spec = BatchedEnv(config.build(1)).spec
    compared, ends = 0, 0
    first = np.ones(4, np.bool_)
    for _ in range(60):
        action = generator.integers(env.single_action_space.n, size=4)
        outcome = dynamics.step(env.snapshots(), action, generator.integers(2**31, size=4))
        obs, reward, terminated, truncated, info = env.step(action)
        last = terminated | truncated
        discount = info.get(DISCOUNT, 1.0 - terminated)
        frame = env.layout.images(np.asarray(obs))[:, -spec.channels :]
        same = (env.snapshots() == outcome.snapshot).all(1)
        if not isinstance(config, MinAtarConfig):  # which draws amid an episode too
            assert (same | first).all()
        for i in np.flatnonzero(same):
            assert outcome.reward[i] == reward[i]
            assert outcome.last[i] == last[i]
            assert outcome.discount[i] == discount[i]
            if not (last[i] and isinstance(env, Atari)):  # which shows an older frame there
                assert (outcome.frame[i] == frame[i]).all()
        compared, ends, first = compared + same.sum(), ends + last[same].sum(), last
    assert compared > 150
    assert ends or isinstance(config, MinAtarConfig)
    env.close()


def test_sticky_actions_are_drawn_anew() -> None:
    """In Freeway, where a step up is another place, and in MinAtar's Breakout."""
    sticky = AtariProtocol("sticky", sticky=0.5, noops=0, stack=1)
    for config in (AtariConfig("freeway", sticky), MinAtarConfig("breakout", sticky=0.5)):
        env, dynamics, _ = play(config, 1, 3)
        snapshot = env.snapshots().repeat(40, 0)
        outcome = dynamics.step(snapshot, np.ones(40, np.int64), np.arange(40))
        kinds = {row.tobytes() for row in outcome.snapshot}
        assert 2 <= len(kinds) <= 6
        env.close()


def test_the_state_of_a_minatar_game_is_whole() -> None:
    """A copy plays on like the original, given the same generator, over the ends of episodes."""
    for name in GAMES:
        env: Any = MinAtarConfig(name).build(2)
        env.reset(seed=[3, 4])
        generator = np.random.default_rng(0)
        for action in generator.integers(6, size=(150, 2)):
            env.step(action)
        snapshots, seeds = env.snapshots(), np.array([8, 9])
        other: Any = MinAtarConfig(name).build(1)
        for each in (env, other):
            each.restore_snapshots(snapshots, seeds)
        for action in generator.integers(6, size=(200, 2)):
            for x, y in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
                assert (x == y).all()


def test_a_state_that_is_too_large_is_refused() -> None:
    env: Any = MinAtarConfig("seaquest").build(1)
    env.reset(seed=0)
    env.games[0].env.e_fish = [[0, 1, True, 5]] * NUMBERS
    with pytest.raises(RunError, match=r"The state of seaquest has 2\d+ numbers"):
        GameState(env.games[0]).read(env.games[0])


def test_time_steps_have_snapshots_where_they_are_asked_for() -> None:
    config = MinAtarConfig()
    assert BatchedEnv(config.build(2), seed=1).reset().snapshot is None
    parts = [BatchedEnv(config.build(1), seed=1, first_env=i, snapshots=True) for i in range(2)]
    whole = BatchedEnv(config.build(2), seed=1, snapshots=True, reseed_after=5)
    pipeline = Pipeline(parts)
    a, b = pipeline.reset(), whole.reset()
    assert torch.equal(a.snapshot, b.snapshot)  # type: ignore[arg-type]
    loaded = timestep_from_state(timestep_state(a), whole.spec, torch.device("cpu"))
    assert torch.equal(loaded.snapshot, a.snapshot)  # type: ignore[arg-type]
    for _ in range(40):  # an episode ends, and its env is seeded again
        b = whole.step(torch.ones(2, dtype=torch.int64))
        assert (b.snapshot.numpy() == whole.env.snapshots()).all()  # type: ignore[attr-defined, union-attr]
    assert whole.seed_index.any()
    gym = BatchedEnv(EXAMPLES["gym"][0].build(1), snapshots=True)
    assert gym.spec.dynamics is None


def test_frames_are_scaled_by_area() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    assert scaled_by_area(image, 2, 3)[0].tolist() == [[4, 6, 8], [16, 18, 20]]
    assert (scaled_by_area(np.full((3, 210, 160), 77, np.uint8), 84, 84) == 77).all()
    with pytest.raises(UsageError, match=r"protocol.height x protocol.width is 300 x 84"):
        AtariDynamics("pong", AtariProtocol("large", height=300))
    assert PROTOCOLS["mfec"].height == 84
