"""Episodic control whose keys are the true state."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie import Experiment, evaluate, train
from reverie.agents.episodic.mfec import MFEC, MFECConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.runs.run import Run
from reverie.world_models.representation.true_state import TrueStateConfig

from sample_agents import OPTIONS, equal, metric_rows

CONFIG = MFECConfig(num_neighbors=3, capacity=2_000, epsilon=0.1, representation=TrueStateConfig())


def trained(env: Any, config: MFECConfig = CONFIG, timesteps: int = 60) -> tuple[MFEC, list[Any]]:
    envs = BatchedEnv(env.build(4, privileged=True), seed=0)
    agent = config.build(envs.spec, seed=0)
    transitions = list(islice(interact(envs, agent), timesteps))
    for t in transitions:
        agent.learn(t)
    return agent, transitions


def test_a_key_is_the_state_and_only_an_equal_state_hits_it() -> None:
    """Frames that differ are one state if the chosen bytes are equal, and the other way round."""
    agent, transitions = trained(CatchConfig())
    step = transitions[0].step
    assert step.privileged is not None
    blank = replace(step, obs=torch.zeros_like(step.obs))
    moved = replace(step, privileged=step.privileged + 100)
    extras = [agent.act(x, agent.initial(4)).extras for x in (step, blank, moved)]
    assert torch.equal(extras[0]["key"], step.privileged / 255)
    assert equal(extras[0], extras[1])
    assert extras[0]["exact"].all()
    assert not extras[2]["exact"].any()

    rows = MFECConfig(num_neighbors=3, representation=TrueStateConfig(names=("ball_row",)))
    agent, transitions = trained(CatchConfig(), rows)
    keys = agent.tables.keys[0, torch.arange(agent.tables.sizes[0])]
    assert set((255 * keys).round().flatten().tolist()) <= set(range(10))


def test_a_cell_of_a_plane_weighs_as_much_as_any_counter() -> None:
    agent, transitions = trained(MinAtarConfig("breakout"), timesteps=3)
    step = transitions[-1].step
    key = agent.act(step, agent.initial(4)).extras["key"]
    assert torch.equal(key[:, :400], step.obs.flatten(1) / 255)


def test_it_solves_deep_sea_and_resumes_exactly(tmp_path: Path) -> None:
    env = DeepSeaConfig(size=4)
    agent, _ = trained(env, replace(CONFIG, num_neighbors=1), timesteps=600)
    assert evaluate(agent, env, episodes=4, threads=1, privileged=True).mean > 0.9
    whole = Experiment(CONFIG, CatchConfig(), seed=3, total_timesteps=448, num_envs=4)
    options = replace(OPTIONS, log_every=320)
    train(whole, tmp_path / "whole", options)
    train(replace(whole, total_timesteps=288), tmp_path / "resumed", options)
    train(whole, tmp_path / "resumed", options)
    assert metric_rows(tmp_path / "whole")[-1] == metric_rows(tmp_path / "resumed")[-1]
    states = [Run(tmp_path / x).checkpoints.load() or {} for x in ("whole", "resumed")]
    assert equal(states[0]["agent"], states[1]["agent"])


def test_an_env_without_a_true_state_is_refused() -> None:
    spec = replace(BatchedEnv(CatchConfig().build(4)).spec, privileged=())
    with pytest.raises(UsageError, match=r"agent\.representation:true-state needs the true state"):
        CONFIG.build(spec)
