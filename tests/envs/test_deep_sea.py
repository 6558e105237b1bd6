"""DeepSea: rewards and observations by hand, and exploration with and without counts."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy, argmax_with_random_ties, epsilon_greedy
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.deep_sea import DeepSea, DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Carry, TimeStep, Transition
from reverie.experiments.config.registry import BONUSES

from bsuite_golden import GOLDEN
from sample_agents import solved_at


@pytest.mark.parametrize("size", [2, 5, 14])
def test_returns_of_known_paths(size: int) -> None:
    """Always right gives 0.99, always left 0, and right in all but the last row only the costs."""
    env = DeepSea(3, size, mapping_seed=4)
    obs, _ = env.reset()
    score = np.zeros(3)
    for row in range(size):
        assert (obs.reshape(3, -1).argmax(1) // size == row).all()
        assert (obs.reshape(3, -1).sum(1) == 255).all()
        columns = obs.reshape(3, -1).argmax(1) % size
        assert columns.tolist() == [row, 0, row]
        right = env.right_action[row, columns]
        moves_right = np.array([1, 0, int(row < size - 1)])
        obs, reward, terminated, truncated, _ = env.step(np.where(moves_right, right, 1 - right))
        score += reward
        assert terminated.tolist() == [row == size - 1] * 3
        assert not truncated.any()
    assert not obs.any()
    np.testing.assert_allclose(score, [0.99, 0, -0.01 * (size - 1) / size], atol=1e-12)
    obs, reward, terminated, _, _ = env.step(np.zeros(3, np.int64))
    assert not reward.any()
    assert not terminated.any()
    assert (obs[:, 0, 0, 0] == 255).all()


def test_the_mapping_seed_alone_fixes_the_actions() -> None:
    same, other = DeepSea(1, 14, 0), DeepSea(1, 14, 1)
    assert (same.right_action == DeepSea(5, 14, 0).right_action).all()
    assert (same.right_action != other.right_action).any()
    assert 0.3 < same.right_action.mean() < 0.7


def test_every_step_is_bsuites() -> None:
    """Three episodes of each of bsuite's sizes, recorded from it: found, missed, and at random."""
    for recorded in json.loads(GOLDEN.read_text())["episodes"]:
        size, bad = recorded["size"], []
        env = DeepSea(1, size)
        actions, expected = (
            iter(recorded["actions"]),
            zip(recorded["cells"], recorded["rewards"], strict=True),
        )
        for _ in range(3):
            env.reset()
            terminated = np.zeros(1, np.bool_)
            while not terminated[0]:
                obs, reward, terminated, _, _ = env.step(np.array([int(next(actions))]))
                cell = int(obs.argmax()) if obs.any() else -1
                assert (cell, float(reward[0])) == next(expected)
            bad.append(bool(reward[0] < 0.5))
        assert np.cumsum(bad).tolist() == recorded["bad"]
        assert next(expected, None) is None


def test_only_masked_divers_are_reset() -> None:
    env = DeepSea(2, 4)
    env.reset()
    env.step(np.array([0, 0]))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.row.tolist() == [0, 1]


def test_random_play_does_not_find_the_treasure() -> None:
    """Ten thousand steps are 667 episodes, and it takes about 2^14 of them."""
    envs = BatchedEnv(DeepSeaConfig().build(20))
    best = sum(
        float(t.next_step.reward.max()) for t in islice(interact(envs, RandomPolicy(2)), 500)
    )
    assert best <= 0


def test_a_size_below_2_is_refused() -> None:
    with pytest.raises(UsageError, match=r"env\.size is 1; it must be in 2..255"):
        DeepSeaConfig(size=1)


def test_the_shape_of_observations() -> None:
    spec = BatchedEnv(DeepSeaConfig(size=6).build(2)).spec
    assert (spec.obs_shape, spec.num_actions) == ((1, 6, 6), 2)
    assert BatchedEnv(DeepSeaConfig(size=6).build(2)).reset().obs.dtype == torch.uint8


class TabularQLearning:
    """Q-learning in a table of cells, the simplest agent that can use an exploration bonus."""

    def __init__(self, size: int) -> None:
        self.values = torch.zeros(
            size * size + 1, 2
        )  # the last row is the observation below the bottom

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(0, prng.Purpose.TRAIN, n)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        key = carry["rng"]
        greedy = argmax_with_random_ties(self.values[self.cell(step)], key)
        return ActOutput(epsilon_greedy(greedy, key, 2, 0.1), {"rng": prng.next_rng(key)})

    def learn(self, t: Transition) -> None:
        cell, value = self.cell(t.step), self.values[self.cell(t.next_step)].amax(1)
        target = t.next_step.reward.float() + t.bonus + t.next_step.discount * value
        old = self.values[cell, t.action]
        self.values[cell, t.action] = torch.where(t.valid, old + 0.3 * (target - old), old)

    def cell(self, step: TimeStep) -> Tensor:
        obs = step.obs.flatten(1) > 0
        return torch.where(obs.any(1), obs.int().argmax(1), obs.shape[1])


@pytest.mark.parametrize("name", ["none", "pseudo-count", "simhash"])
def test_a_tabular_agent_finds_the_treasure_with_counts_and_not_without(name: str) -> None:
    size, treasures = 8, 0
    envs, agent = BatchedEnv(DeepSeaConfig(size).build(8)), TabularQLearning(size)
    settings = {} if name == "none" else {"scale": 0.1}
    bonus = BONUSES[name](**settings).build(envs.spec)
    for t in islice(interact(envs, agent), 1500):
        t = t.with_bonus(bonus(t))
        agent.learn(t)
        treasures += int((t.next_step.reward > 0.5).sum())
    assert (treasures > 100) == (name != "none")
    assert (treasures == 0) == (name == "none")


def test_a_dqn_with_a_count_bonus_solves_deep_sea() -> None:
    """Other seeds, other bonuses and the baseline are in test_learning_results.py."""
    assert solved_at(PseudoCountConfig(), seed=2) is not None
