"""Tests of the policies without parameters."""

from itertools import islice

import pytest
import torch

from reverie.agents.interface import Policy
from reverie.agents.loop import interact
from reverie.agents.policies import ConstantPolicy, EpsilonGreedy, RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig


@pytest.mark.parametrize("policy", [ConstantPolicy(1), RandomPolicy(3)])
def test_a_policy_around_another_draws_anew_at_every_timestep(policy: Policy) -> None:
    envs = BatchedEnv(CatchConfig().build(50), seed=0)
    timesteps = interact(envs, EpsilonGreedy(policy, 3, epsilon=0.5))
    actions = torch.stack([t.action for t in islice(timesteps, 40)], 1)
    assert (actions != actions[:, :1]).any(1).all()
