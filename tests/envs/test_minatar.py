"""MinAtar: the games of the package step for step, and the planes that a density sees."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import minatar
import numpy as np
import pytest
import torch

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.minatar import GAMES, MinAtar, MinAtarConfig

each_game = pytest.mark.parametrize("game", GAMES)


def episodes_of_the_package(game: str, seed: int, actions: list[int]) -> Iterator[Any]:
    """Yield what the package returns for each action, and a reset after the end of an episode."""
    env, done = minatar.Environment(game), False
    env.seed(seed)
    env.reset()
    for action in actions:
        reward, done = (0, env.reset() is not None) if done else env.act(action)
        yield env.state().transpose(2, 0, 1), reward, done


@each_game
def test_every_env_is_the_package_with_its_own_seed(game: str) -> None:
    actions = np.random.default_rng(0).integers(6, size=(400, 3))
    env = MinAtar(3, MinAtarConfig(game))
    env.reset(seed=[7, 8, 9])
    theirs = [episodes_of_the_package(game, 7 + i, actions[:, i].tolist()) for i in range(3)]
    ends = 0
    for step in actions:
        obs, reward, terminated, truncated, _ = env.step(step)
        ends += int(terminated.sum())
        assert not truncated.any()
        for i, (state, expected, done) in enumerate(map(next, theirs)):
            assert (obs[i] == 255 * state).all()
            assert (reward[i], terminated[i]) == (expected, done)
    assert ends > 3 or game == "freeway"  # whose episodes have 2,500 steps


@each_game
def test_a_seeded_reset_forgets_the_past(game: str) -> None:
    """As exact resumption needs: the sticky action, timers and difficulty are reset too."""
    actions = np.random.default_rng(1).integers(6, size=(300, 2))
    fresh, used = MinAtar(2, MinAtarConfig(game)), MinAtar(2, MinAtarConfig(game))
    used.reset(seed=3)
    for step in actions:
        used.step(step)
    used.reset(seed=5)
    fresh.reset(seed=5)
    for step in actions:
        for ours, expected in zip(used.step(step)[:4], fresh.step(step)[:4], strict=True):
            assert (ours == expected).all()


def test_truncation_and_the_next_episode() -> None:
    env = MinAtar(1, MinAtarConfig("freeway", max_episode_steps=5))
    env.reset(seed=0)
    steps = [env.step(np.array([2])) for _ in range(12)]
    assert [int(x[3][0]) for x in steps] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]
    assert not any(x[2].any() for x in steps)
    assert steps[5][1][0] == 0


def test_the_true_state_by_hand() -> None:
    env = MinAtar(2, MinAtarConfig("breakout"), privileged=True)
    _, info = env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(np.array([1, 3]))
    state = info["privileged"]
    assert (state.shape, state.dtype) == ((2, len(env.privileged_names)), np.uint8)
    position = env.privileged_names.index("pos")
    assert state[:, position].tolist() == [x.env.pos for x in env.games]
    ball = [env.privileged_names.index(f"ball_{row}_3") for row in range(10)]
    assert (state[:, ball] == 255 * env.planes[:, :, 3, 1]).all()
    assert state[:, :400].sum() == 255 * env.planes.sum()
    assert MinAtar(1, MinAtarConfig()).privileged_names == ()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ("noop", "left", "up", "right", "down", "fire")),
        ({"minimal_actions": True}, ("noop", "left", "right")),
    ],
)
def test_actions_have_the_names_of_what_they_do(
    settings: dict[str, Any], names: tuple[str, ...]
) -> None:
    config = MinAtarConfig("breakout", sticky=0.0, **settings)
    env = MinAtar(len(names), config)
    env.reset(seed=0)
    env.step(np.arange(len(names)))
    assert config.action_names(len(names)) == names
    moved = {"left": 3, "right": 5}
    assert [x.env.pos for x in env.games] == [moved.get(name, 4) for name in names]


def test_scores_are_of_the_suite_minatar() -> None:
    config = MinAtarConfig("space_invaders")
    assert (config.env_name, config.suite) == ("minatar-space_invaders", "minatar")
    assert config.protocol_label == "sticky 0.1"
    changed = replace(config, ramping=False, minimal_actions=True, max_episode_steps=1000)
    assert changed.protocol_label == "sticky 0.1, no ramping, minimal actions, 1,000 steps"


def test_an_unknown_game_is_refused() -> None:
    with pytest.raises(UsageError, match=r"env\.game is pong, .* choose among asterix, breakout"):
        MinAtarConfig("pong")


def test_a_batched_env_has_planes() -> None:
    envs = BatchedEnv(MinAtarConfig("seaquest").build(2))
    assert envs.spec.planes
    assert (envs.spec.obs_shape, envs.spec.channels, envs.spec.stack) == ((10, 10, 10), 10, 1)
    for t in islice(interact(envs, RandomPolicy(6)), 20):
        assert set(t.step.obs.flatten().tolist()) <= {0, 255}
        assert torch.equal(t.step.frame, t.step.obs)
