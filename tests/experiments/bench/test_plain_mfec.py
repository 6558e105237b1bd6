"""The contender in plain numpy does what the agent does."""

from itertools import islice

import numpy as np
import torch

from reverie.agents.episodic.neighbor_tables import NeighborTables
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.experiments.bench.plain_mfec import PlainMFEC, PlainTable


def test_plain_tables_estimate_what_neighbor_tables_estimate() -> None:
    """Repeated states, evictions, and states that are not stored."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(60, 8)).astype(np.float32)
    plain = PlainTable(8, capacity=30, num_neighbors=3)
    tables = NeighborTables(1, 8, capacity=30, num_neighbors=3)
    for _ in range(300):
        state, value = int(rng.integers(60)), float(rng.integers(100))
        plain.update(states[state], value)
        keys, digests = torch.from_numpy(states[None, state]), torch.tensor([state])
        tables.update(0, keys, digests, torch.tensor([value]))
    values, exact = tables.estimate(torch.from_numpy(states), torch.arange(60))
    assert 0 < int(exact.sum()) <= 30
    expected = torch.tensor([[plain.estimate(state) for state in states]])
    torch.testing.assert_close(values, expected)


def test_the_plain_agent_learns_catch() -> None:
    envs = BatchedEnv(CatchConfig().build(8), seed=0)
    agent = PlainMFEC(envs.spec, capacity=5_000, num_neighbors=1)
    rewards = []
    for t in islice(interact(envs, agent), 300):
        agent.learn(t)
        rewards.append(t.next_step.reward.sum().item())
    assert sum(rewards[-100:]) > sum(rewards[:100]) + 20
    envs.close()
