"""Tests of Imagination, a predictor as a Gymnasium vector environment."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import DISCOUNT
from reverie.world_models.prediction.imagination import Imagination

from sample_models import CountingPredictor, imagination, starts


def test_episodes_by_hand() -> None:
    """Observations, rewards, truncation at the horizon and the reset, step by step."""
    env = imagination(2, horizon=3)
    assert isinstance(env, VectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    obs, _ = env.reset(seed=[7, 8])
    assert env.observation_space.contains(obs)
    start_index = obs[:, 0, -1, -1].tolist()
    rows = [env.step(np.array([1, 2])) for _ in range(5)]
    assert [row[0][0, 0, 0, 0] for row in rows] == [1, 2, 3, 0, 1]
    assert [row[1].tolist() for row in rows] == [[1, 2], [1, 2], [1, 2], [0, 0], [1, 2]]
    assert [row[3].tolist()[0] for row in rows] == [False, False, True, False, False]
    assert not any(row[2].any() for row in rows)
    assert all((row[4][DISCOUNT] == 1).all() for row in rows)
    assert [row[0][:, 0, -1, -1].tolist() for row in rows[:3]] == [start_index] * 3
    assert all(env.observation_space.contains(row[0]) for row in rows)
    again, _ = env.reset(seed=[7, 8])
    assert np.array_equal(again, obs)


def test_seeds_follow_gymnasium() -> None:
    """Without a seed the generator continues; None in a list is no seed for one env."""
    env = imagination(8, horizon=9)
    first, second, third = (env.reset(seed=seed)[0] for seed in (3, None, None))
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    again = [env.reset(seed=seed)[0] for seed in (3, None)]
    assert np.array_equal([first, second], again)
    some, _ = env.reset(seed=[3, None, 5, None, 7, None, 9, None])
    every, _ = env.reset(seed=list(range(3, 11)))
    assert np.array_equal(some[::2], every[::2])
    assert len(set(some[1::2, 0, -1, -1])) > 1


def test_termination_has_the_predicted_probability() -> None:
    """Lengths of episodes that terminate with probability 0.2 a step are geometric."""
    envs = BatchedEnv(imagination(64, termination=0.2, horizon=10_000), seed=1)
    lengths, length, start_indices = [], torch.zeros(64), set()
    for t in islice(interact(envs, RandomPolicy(3)), 400):
        length += t.valid
        start_indices |= set(t.step.obs[t.step.first, 0, -1, -1].tolist())
        assert torch.equal(t.next_step.discount == 0, t.next_step.last)
        lengths += length[t.next_step.last].tolist()
        length[t.next_step.last] = 0
    mean = sum(lengths) / len(lengths)
    assert abs(mean - 5) < 5 * (20 / len(lengths)) ** 0.5  # standard deviation sqrt(0.8) / 0.2
    assert start_indices == set(range(5))


def test_arrays_equal_tensors() -> None:
    batched_envs = [
        BatchedEnv(imagination(8, termination=0.1, tensors=tensors), seed=3)
        for tensors in (False, True)
    ]
    pairs = zip(*(islice(interact(s, RandomPolicy(3)), 60) for s in batched_envs), strict=True)
    for a, b in pairs:
        for name in ("obs", "reward", "discount", "first", "last", "frame"):
            assert torch.equal(getattr(a.next_step, name), getattr(b.next_step, name))


def test_gymnasium_records_episode_statistics() -> None:
    env = RecordEpisodeStatistics(imagination(3, termination=0.3, horizon=5))
    env.reset(seed=1)
    returns, lengths, first, num_episodes = np.zeros(3), np.zeros(3), np.zeros(3, np.bool_), 0
    rng = np.random.default_rng(0)
    for _ in range(60):
        _, reward, terminated, truncated, info = env.step(rng.integers(3, size=3))
        returns, lengths = np.where(first, 0, returns + reward), np.where(first, 0, lengths + 1)
        done = terminated | truncated
        for i in np.flatnonzero(done):
            assert info["_episode"][i]
            assert info["episode"]["r"][i] == returns[i]
            assert info["episode"]["l"][i] == lengths[i]
            num_episodes += 1
        first = done
    assert num_episodes > 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: imagination(horizon=0), "horizon=0"),
        (lambda: imagination(num_actions=18), "has 18 actions and the predictor 3;"),
        (lambda: Imagination(CountingPredictor(), starts(0), 2), "and 0 starts"),
    ],
)
def test_invalid_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
