"""Tests of an agent's simulator: its contexts, its latents and its schedule."""

from itertools import islice
from unittest import mock

import pytest
import torch

from reverie.agents.loop import interact
from reverie.agents.mpc import MPCConfig
from reverie.agents.policies import EpsilonGreedy, RandomPolicy
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import EnvSpec
from reverie.world_models.prediction.feedforward import TINY
from reverie.world_models.prediction.recurrent import RecurrentConfig
from reverie.world_models.prediction.stochastic import StochasticConfig

from sample_models import SMALL_SHAPE, imagination


def test_latents_are_drawn_from_the_keys_of_their_envs() -> None:
    """They differ between timesteps, and do not depend on the rest of the batch."""
    config = MPCConfig(StochasticConfig(size="tiny"))
    simulator = config.build(EnvSpec(6, 3, SMALL_SHAPE), seed=0).simulator
    step, rng = (
        BatchedEnv(imagination(6), seed=0).reset(),
        prng.initial_rng(0, prng.Purpose.TRAIN, 6),
    )
    context = simulator.initial(6)
    state = simulator.start(step, context, rng)
    assert not (state["rng"] == simulator.start(step, context, prng.next_rng(rng))["rng"]).any()
    rows = torch.tensor([4, 1])
    selected = simulator.start(step.select(rows), simulator.initial(2), rng[rows])
    assert torch.equal(selected["rng"], state["rng"][rows])


def test_a_recurrent_predictor_starts_from_the_recent_observations_of_the_episode() -> None:
    config = MPCConfig(RecurrentConfig(size="tiny", context=4), samples=4, horizon=2)
    envs = BatchedEnv(CatchConfig().build(4), seed=0)
    agent = config.build(envs.spec, seed=0)
    agent.simulator.schedule.count = agent.simulator.steps = 10_000
    steps, actions, resets = [], [], []
    policy = EpsilonGreedy(agent, 3, 0.3)  # whose actions the context holds
    for t in islice(interact(envs, policy, explore=False), 30):
        steps.append(t.step)
        actions.append(t.action)
        if len(steps) < 4:
            continue
        rng = t.carry["rng"]
        cell = agent.simulator.start(t.step, t.carry, rng)["cell"]
        obs = torch.stack([step.obs for step in steps[-4:]], 1)
        first = torch.stack([step.first for step in steps[-4:]], 1)
        action = torch.stack(actions[-4:-1], 1)
        assert torch.equal(t.carry["context_action"], action), "the actions taken in between"
        expected = agent.simulator.predictor.start(obs, action, first)["cell"]
        torch.testing.assert_close(cell, expected)
        changed = t.carry["context_obs"].clone()
        changed[:, 0] += 50
        other = agent.simulator.start(t.step, t.carry | {"context_obs": changed}, rng)["cell"]
        assert torch.equal((other == cell).all(1), first[:, 1:].any(1))
        resets.append(bool(first[:, 1:].any()))
    assert set(resets) == {True, False}


@pytest.mark.parametrize("event_fraction", [0.0, 1.0])
def test_a_predictor_learns_from_the_fraction_of_events(event_fraction: float) -> None:
    """Every episode of Catch has one reward, at its end."""
    config = MPCConfig(TINY, event_fraction=event_fraction, model_learning_starts=200)
    envs = BatchedEnv(CatchConfig().build(4), seed=0)
    simulator = config.build(envs.spec, seed=0).simulator
    with mock.patch.object(simulator.predictor, "update", return_value={"loss": 0.0}) as update:
        for t in islice(interact(envs, RandomPolicy(3)), 70):
            simulator.learn(t)
    segments = [call.args[0] for call in update.call_args_list]
    assert len(segments) > 5
    share = torch.cat([(x.reward != 0).any(1) for x in segments]).float().mean()
    assert share == 1 if event_fraction else share < 0.3
