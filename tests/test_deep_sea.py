"""DeepSea by hand: what it pays, what it shows, and where chance does not get."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.bonus import BonusConfig
from agents.choices import BONUSES
from agents.density_bonus import PseudoCountConfig
from agents.dqn import DQNConfig
from agents.interface import Agent
from agents.loop import interact
from agents.networks import MLPConfig
from agents.policies import RandomPolicy, argmax_with_random_ties, epsilon_greedy
from envs import dice
from envs.deep_sea import DeepSea, DeepSeaConfig
from envs.errors import UsageError
from envs.interface import Memory, Step, Transition
from envs.stream import Stream


@pytest.mark.parametrize("size", [2, 5, 14])
def test_what_each_way_down_pays(size: int) -> None:
    """Always right 0.99, always left 0, and right in all but the last row only its costs."""
    env = DeepSea(3, size, mapping_seed=4)
    look, _ = env.reset()
    score = np.zeros(3)
    for row in range(size):
        assert (look.reshape(3, -1).argmax(1) // size == row).all()
        assert (look.reshape(3, -1).sum(1) == 255).all()
        columns = look.reshape(3, -1).argmax(1) % size
        assert columns.tolist() == [row, 0, row]
        right = env.right[row, columns]
        wanted = np.array([1, 0, int(row < size - 1)])
        look, reward, over, timed_out, _ = env.step(np.where(wanted, right, 1 - right))
        score += reward
        assert over.tolist() == [row == size - 1] * 3
        assert not timed_out.any()
    assert not look.any()
    np.testing.assert_allclose(score, [0.99, 0, -0.01 * (size - 1) / size], atol=1e-12)
    look, reward, over, _, _ = env.step(np.zeros(3, np.int64))
    assert not reward.any()
    assert not over.any()
    assert (look[:, 0, 0, 0] == 255).all()


def test_the_actions_meaning_is_the_mapping_seeds_alone() -> None:
    same, other = DeepSea(1, 14, 0), DeepSea(1, 14, 1)
    assert (same.right == DeepSea(5, 14, 0).right).all()
    assert (same.right != other.right).any()
    assert 0.3 < same.right.mean() < 0.7


def test_only_the_masked_divers_start_anew() -> None:
    env = DeepSea(2, 4)
    env.reset()
    env.step(np.array([0, 0]))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.row.tolist() == [0, 1]


def test_chance_does_not_find_the_treasure_of_a_deep_sea() -> None:
    """Ten thousand steps are 667 episodes, and it takes about 2^14 of them."""
    stream = Stream(DeepSeaConfig().build(20))
    found = sum(
        float(t.next_step.reward.max()) for t in islice(interact(stream, RandomPolicy(2)), 500)
    )
    assert found <= 0


def test_a_sea_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match=r"env\.size is 1; it must be 2 or more"):
        DeepSeaConfig(size=1)


def test_it_shows_one_cell_of_all() -> None:
    spec = Stream(DeepSeaConfig(size=6).build(2)).spec
    assert (spec.obs_shape, spec.num_actions) == ((1, 6, 6), 2)
    assert Stream(DeepSeaConfig(size=6).build(2)).reset().obs.dtype == torch.uint8


class Table:
    """Q-learning in a table of cells: the least that an exploration bonus can serve."""

    def __init__(self, size: int) -> None:
        self.values = torch.zeros(size * size + 1, 2)  # the last row is the look below the bottom

    def initial(self, n: int) -> Memory:
        return {"dice": dice.keys(0, "train", n)}

    def act(self, step: Step, memory: Memory, *, explore: bool = True) -> tuple[Tensor, Memory]:
        key = memory["dice"]
        greedy = argmax_with_random_ties(self.values[self.cell(step)], key)
        return epsilon_greedy(greedy, key, 2, 0.1), {"dice": dice.roll(key)}

    def learn(self, t: Transition) -> None:
        cell, value = self.cell(t.step), self.values[self.cell(t.next_step)].amax(1)
        target = t.next_step.reward + t.bonus + t.next_step.discount * value
        old = self.values[cell, t.action]
        self.values[cell, t.action] = torch.where(t.valid, old + 0.3 * (target - old), old)

    def cell(self, step: Step) -> Tensor:
        look = step.obs.flatten(1) > 0
        return torch.where(look.any(1), look.int().argmax(1), look.shape[1])


@pytest.mark.parametrize("name", ["none", "pseudo-count", "simhash"])
def test_a_table_finds_the_treasure_by_counting_and_not_without(name: str) -> None:
    size, found = 8, 0
    stream, agent = Stream(DeepSeaConfig(size).build(8)), Table(size)
    settings = {} if name == "none" else {"scale": 0.1}
    bonus = BONUSES[name](**settings).build(stream.spec)
    for t in islice(interact(stream, agent), 1500):
        t = t.with_bonus(bonus(t))
        agent.learn(t)
        found += int((t.next_step.reward > 0.5).sum())
    assert (found > 100) == (name != "none")
    assert (found == 0) == (name == "none")


def solved_at(bonus: BonusConfig, seed: int, episodes: int = 4000) -> int | None:
    """The episode at which a DQN had played perfectly a hundred greedy evaluations in a row.

    Chance falls from 1 to 0.1 in the first 500 episodes, after 20 to begin with; one evaluation
    follows each round of eight episodes.
    """
    size, streams = 14, 8
    stream = Stream(DeepSeaConfig(size).build(streams), seed=seed)
    agent = DQNConfig(
        network=MLPConfig((64, 64)),
        epsilon_steps=500 * (size + 1),
        learning_starts=20 * (size + 1),
        capacity=100_000,
        learning_rate=1e-3,
        target_every=100,
    ).build(stream.spec, seed=seed)
    counts = bonus.build(stream.spec, seed=seed)
    in_a_row = done = 0
    for tick, t in enumerate(interact(stream, agent), 1):
        agent.learn(t.with_bonus(counts(t)))
        done += int(t.next_step.last.sum())
        if tick % (size + 1) == 0:
            in_a_row = in_a_row + 1 if greedy_score(agent, size) > 0.985 else 0
        if in_a_row == 100 or done >= episodes:
            return done if in_a_row == 100 else None
    raise AssertionError("a loop has no end of its own")


def greedy_score(agent: Agent, size: int) -> float:
    stream = Stream(DeepSeaConfig(size).build(1))
    play = interact(stream, agent, explore=False)
    return sum(float(t.next_step.reward[0]) for t in islice(play, size))


def test_a_dqn_that_counts_solves_a_deep_sea() -> None:
    """The other seeds and bonuses, and the twin that does not count, are in test_evidence.py."""
    assert solved_at(PseudoCountConfig(), seed=2) is not None
