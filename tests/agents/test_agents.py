"""Laws of every agent in the registry."""

import copy
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie import Experiment, evaluate, load, train
from reverie.agents.interface import Agent, AgentConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv, spec_of
from reverie.envs.catch import CatchConfig
from reverie.experiments.runs import blocks, packed_state
from reverie.experiments.runs.files import replacing
from reverie.experiments.runs.run import Run

from sample_agents import (
    LAW_AGENTS,
    OPTIONS,
    SMALL_BREAKOUT,
    SMALL_CATCH,
    catch_envs,
    equal,
    for_small_catch,
    metric_rows,
    shortened,
)
from sample_envs import ScriptedEnv

each_agent = pytest.mark.parametrize("config", LAW_AGENTS.values(), ids=list(LAW_AGENTS))
LEARNERS = {name: config for name, config in LAW_AGENTS.items() if not config.return_after}
"""Agents with a policy for every start; one that returns to snapshots repeats a trajectory."""


@pytest.mark.parametrize("config", LEARNERS.values(), ids=list(LEARNERS))
def test_it_is_an_agent_and_learns_catch(config: AgentConfig) -> None:
    config, timesteps = for_small_catch(config)
    envs = BatchedEnv(SMALL_CATCH.build(8), seed=0)
    agent = config.build(envs.spec, seed=0)
    assert isinstance(agent, Agent)
    for t in islice(interact(envs, agent), timesteps):
        agent.learn(t)
    scores = evaluate(agent, SMALL_CATCH, episodes=100, threads=1)
    assert scores.mean >= 0.95


@each_agent
def test_acting_changes_neither_the_carry_nor_the_state(config: AgentConfig) -> None:
    envs = catch_envs()
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 60):
        agent.learn(t)
    state = copy.deepcopy(agent.state_dict())
    carry = copy.deepcopy(t.next_carry)
    for explore in (True, False):
        output = agent.act(t.next_step, t.next_carry, explore=explore)
        repeated = agent.act(t.next_step, t.next_carry, explore=explore)
        assert torch.equal(output.action, repeated.action), "random numbers are in the carry"
        assert equal(output.extras, repeated.extras)
        assert set(output.carry) == set(carry)
        assert all(len(x) == 8 for x in output.extras.values())
    assert equal(carry, t.next_carry)
    assert equal(state, agent.state_dict())


@each_agent
def test_evaluation_leaves_the_agent_untouched(config: AgentConfig) -> None:
    envs = catch_envs()
    agent = config.build(envs.spec, seed=0)
    loop = interact(envs, agent)
    for t in islice(loop, 60):
        agent.learn(t)
    state = copy.deepcopy(agent.state_dict())
    first = evaluate(agent, CatchConfig(), episodes=20, threads=1)
    assert equal(state, agent.state_dict())
    assert first == evaluate(agent, CatchConfig(), episodes=20, threads=1)


@each_agent
@pytest.mark.parametrize(
    "env",
    [CatchConfig(), SMALL_BREAKOUT],
    ids=["catch", "breakout-sticky"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    config: AgentConfig, env: Any, tmp_path: Path
) -> None:
    """Metrics and agent state are equal, also on a game with sticky actions.

    The run stops in the middle of episodes, and of the fit of learned keys.
    """
    experiment = Experiment(shortened(config), env, seed=3, total_timesteps=320, num_envs=4)
    options = replace(OPTIONS, log_every=240)
    train(experiment, tmp_path / "uninterrupted", options)
    train(replace(experiment, total_timesteps=220), tmp_path / "resumed", options)
    train(experiment, tmp_path / "resumed", options)
    assert metric_rows(tmp_path / "resumed")[-1] == metric_rows(tmp_path / "uninterrupted")[-1]
    episodes = [
        (tmp_path / name / "episodes.jsonl").read_text() for name in ("uninterrupted", "resumed")
    ]
    scores = [[json.loads(line)["score"] for line in text.splitlines()] for text in episodes]
    assert scores[0] == scores[1]
    assert len(scores[0]) > 3
    states = [
        Run(tmp_path / name).checkpoints.load() or {} for name in ("uninterrupted", "resumed")
    ]
    assert equal(states[0]["agent"], states[1]["agent"])


@each_agent
def test_it_acts_without_the_buffers_of_its_checkpoint(
    config: AgentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks are removed, and those that loading needs are put back."""
    for module in (blocks, packed_state):
        monkeypatch.setattr(module, "BLOCK_SIZE", 4096)
    config = shortened(config)
    experiment = Experiment(config, SMALL_CATCH, seed=1, total_timesteps=244, num_envs=4)
    run = train(experiment, tmp_path, OPTIONS)
    trained = config.build(spec_of(SMALL_CATCH, 4), seed=1)
    trained.load_state_dict((run.checkpoints.load() or {})["agent"])
    removed = {x.name: x.read_bytes() for x in run.checkpoints.blocks.folder.iterdir()}
    for path in run.checkpoints.blocks.folder.iterdir():
        path.unlink()
    read = blocks.Blocks._read
    wanted = set[str]()

    def put_back(self: blocks.Blocks, name: str, target: memoryview) -> None:
        """Write the block again: atomically, because equal blocks are read at the same time."""
        wanted.add(name)
        with replacing(self.folder / name) as file:
            file.write(removed[name])
        read(self, name, target)

    monkeypatch.setattr(blocks.Blocks, "_read", put_back)
    agent = load(tmp_path, device="cpu")[1]
    assert [x for x in removed.keys() - wanted if not x.endswith(blocks.PARITY)], (
        "buffers are not read"
    )
    scores = [evaluate(x, SMALL_CATCH, episodes=8, threads=1).scores for x in (agent, trained)]
    assert scores[0] == scores[1]


@each_agent
def test_runs_with_one_seed_are_equal(config: AgentConfig, tmp_path: Path) -> None:
    experiment = Experiment(shortened(config), SMALL_CATCH, seed=1, total_timesteps=240, num_envs=4)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(replace(experiment, seed=seed), tmp_path / name, OPTIONS)
    assert metric_rows(tmp_path / "a") == metric_rows(tmp_path / "b")
    assert metric_rows(tmp_path / "a") != metric_rows(tmp_path / "c")


@each_agent
def test_resets_are_never_learned_from(config: AgentConfig) -> None:
    """The reward of an automatic reset has no effect on learning."""
    agents = [config.build(BatchedEnv(ScriptedEnv(4)).spec, seed=0) for _ in range(2)]
    for agent, garbage in zip(agents, (0.0, 1e6), strict=True):
        for t in islice(interact(BatchedEnv(ScriptedEnv(4)), agent), 60):
            reward = torch.where(t.valid, t.next_step.reward, garbage)
            agent.learn(replace(t, next_step=replace(t.next_step, reward=reward)))
    assert equal(without_resets(agents[0].state_dict()), without_resets(agents[1].state_dict()))


def without_resets(state: Any) -> Any:
    """Return a state with rewards of resets set to 0: an episode stores them with weight 0."""
    if not isinstance(state, dict):
        return state
    state = {name: without_resets(value) for name, value in state.items()}
    if {"valid", "reward"} <= state.keys():
        state["reward"] = state["reward"] * state["valid"]
    return state
