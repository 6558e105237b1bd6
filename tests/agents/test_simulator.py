"""Tests of an agent's simulator: its contexts, its latents and its pretrained weights."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from reverie import Experiment, train
from reverie.agents.loop import interact
from reverie.agents.mpc import MPCConfig
from reverie.agents.simulator import context_segment
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec
from reverie.world_models.prediction.recurrent import RecurrentConfig
from reverie.world_models.prediction.stochastic import StochasticConfig

from sample_agents import OPTIONS, TINY
from sample_models import SMALL_SHAPE, imagination


def test_latents_are_drawn_from_the_keys_of_their_envs() -> None:
    """They differ between timesteps, and do not depend on the rest of the batch."""
    config = MPCConfig(StochasticConfig(size="tiny"))
    simulator = config.build(EnvSpec(6, 3, SMALL_SHAPE), seed=0).simulator
    step, rng = BatchedEnv(imagination(6), seed=0).reset(), prng.initial_rng(0, "train", 6)
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
    agent.simulator.updates = agent.simulator.steps = 10_000
    steps, resets = [], []
    for t in islice(interact(envs, agent, explore=False), 30):
        steps.append(t.step)
        if len(steps) < 4:
            continue
        rng = t.carry["rng"]
        cell = agent.simulator.start(t.step, t.carry, rng)["cell"]
        obs = torch.stack([step.obs for step in steps[-4:]], 1)
        first = torch.stack([step.first for step in steps[-4:]], 1)
        expected = agent.simulator.predictor.start(context_segment(obs, first))["cell"]
        torch.testing.assert_close(cell, expected)
        changed = t.carry["context_obs"].clone()
        changed[:, 0] += 50
        other = agent.simulator.start(t.step, t.carry | {"context_obs": changed}, rng)["cell"]
        assert torch.equal((other == cell).all(1), first[:, 1:].any(1))
        resets.append(bool(first[:, 1:].any()))
    assert set(resets) == {True, False}


def test_weights_of_another_network_or_env_are_refused(tmp_path: Path) -> None:
    model = TINY.build(obs_shape=(1, 6, 5), num_actions=3)
    weights = {"model": model.state_dict(), "env_name": "pong"}
    torch.save(weights, tmp_path / "checkpoint.pt")
    spec = EnvSpec(4, 3, (1, 10, 5))
    (tmp_path / "damaged").write_bytes(b"no weights")
    experiment = Experiment(MPCConfig(TINY, weights=str(tmp_path / "checkpoint.pt")), CatchConfig())
    with pytest.raises(UsageError, match="of a predictor of pong, and the environment is catch"):
        train(experiment, tmp_path / "run", OPTIONS)
    for path, message in (
        ("checkpoint.pt", "does not fit this predictor"),
        ("none", "no such file"),
        ("damaged", "holds no weights"),
    ):
        config = MPCConfig(TINY, weights=str(tmp_path / path))
        with pytest.raises(UsageError, match=message):
            config.build(spec)
