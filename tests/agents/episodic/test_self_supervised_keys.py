"""Episodic control with keys that are trained on a task, while it plays."""

from itertools import islice

import pytest

from reverie import evaluate
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.world_models.representation import REPRESENTATIONS

from sample_agents import SMALL_CATCH


@pytest.mark.parametrize("name", ["contrastive", "inverse", "bigan"])
def test_it_learns_catch(name: str) -> None:
    config = MFECConfig(
        num_neighbors=1,
        epsilon=0.1,
        capacity=2_000,
        representation=REPRESENTATIONS[name](dim=8),  # type: ignore[operator]
        fit_after=200,
        fit_updates=50,
    )
    envs = BatchedEnv(SMALL_CATCH.build(8), seed=0)
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 400):
        agent.learn(t)
    scores = evaluate(agent, SMALL_CATCH, episodes=100, threads=1)
    print(name, scores.mean)
    assert scores.mean >= 0.9
