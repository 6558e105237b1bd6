"""Episodic control with keys that are trained on a task, while it plays."""

from itertools import islice

import pytest

from reverie import evaluate
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.world_models.representation.bigan import BiGANConfig
from reverie.world_models.representation.contrastive import ContrastiveConfig
from reverie.world_models.representation.inverse_dynamics import InverseDynamicsConfig
from reverie.world_models.representation.self_supervised import SelfSupervisedConfig

from sample_agents import SMALL_CATCH


@pytest.mark.parametrize("kind", [ContrastiveConfig, InverseDynamicsConfig, BiGANConfig])
def test_it_learns_catch(kind: type[SelfSupervisedConfig]) -> None:
    config = MFECConfig(
        num_neighbors=1,
        epsilon=0.1,
        capacity=2_000,
        representation=kind(dim=8),
        fit_after=160,
        fit_updates=40,
    )
    envs = BatchedEnv(SMALL_CATCH.build(8), seed=0)
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 200):
        agent.learn(t)
    scores = evaluate(agent, SMALL_CATCH, episodes=50, threads=1)
    assert scores.mean >= 0.9
