"""Laws of agents, over every one in the table."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from worlds import Scripted

from agents.actor_critic import ActorCriticConfig
from agents.choices import AGENTS
from agents.dqn import DQNConfig
from agents.dreamer import DreamerConfig
from agents.episodic import EpisodicConfig
from agents.informed import InformedConfig
from agents.interface import Agent, AgentConfig
from agents.loop import interact
from agents.networks import MLPConfig
from agents.shooting import ShootingConfig
from agents.simulator import ImaginingConfig
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments import Experiment, TrainOptions, evaluate, load, train
from world_models.prediction.feedforward import FeedforwardConfig
from world_models.representation.vae import VAEConfig

OPTIONS = TrainOptions(device="cpu", threads=1, bare_seconds=0, quiet=True, log_every=500)

DQN = DQNConfig(
    network=MLPConfig(),
    n_step=3,
    epsilon_steps=4000,
    capacity=20_000,
    learning_starts=100,
    replay_ratio=0.0625,
    target_every=25,
    learning_rate=2e-3,
)
TINY = FeedforwardConfig(
    size="tiny",
    horizons=(1, 4),
    learning_rates=(3e-3, 1e-3),
    batches=(64, 32),
    updates=(900, 1),
)
"""A predictor of a few pixels."""

EXAMPLES: dict[str, AgentConfig] = {
    "dqn": DQN,
    "dreamer": DreamerConfig(
        TINY,
        inner=replace(DQN, capacity=4_000, replay_ratio=0.25, target_every=50, learning_rate=1e-3),
        horizon=9,
        model_starts=400,
        model_ratio=1.5,
    ),
    "shooting": ShootingConfig(
        TINY, samples=32, horizon=9, iterations=2, model_starts=800, model_ratio=1.0
    ),
    "informed": InformedConfig(TINY, inner=DQN, epsilon_steps=4000, recent=4),
    "actor-critic": ActorCriticConfig(
        network=MLPConfig(),
        horizon=32,
        minibatches=2,
        clip=0.2,
        learning_rate=5e-3,
        anneal_steps=0,
    ),
}
"""Settings with which an agent learns Catch within a test, where its defaults would not."""

FITTING = EpisodicConfig(representation=VAEConfig(latent=8), fit_after=200, fit_steps=300)
"""Episodic control by keys that it has to learn."""

TICKS: dict[type[AgentConfig], int] = {DreamerConfig: 300, ShootingConfig: 450}
"""Ticks of eight streams in which an agent learns Catch; the others have 1500."""


def brief(config: AgentConfig) -> AgentConfig:
    """With few of a model's updates and thoughts, where nothing needs to be learned well."""
    if config is FITTING:
        return replace(FITTING, fit_steps=120)
    if isinstance(config, ShootingConfig):
        config = replace(config, samples=4, horizon=3)
    if isinstance(config, ImaginingConfig):
        return replace(config, model_starts=200, model_ratio=config.model_ratio / 10)
    return config


LAW_AGENTS = {name: EXAMPLES.get(name, kind()) for name, kind in AGENTS.items()}
LAW_AGENTS["episodic-vae"] = FITTING

each_agent = pytest.mark.parametrize("config", LAW_AGENTS.values(), ids=list(LAW_AGENTS))


def catch_stream(seed: int = 0, num_envs: int = 8) -> Stream:
    return Stream(CatchConfig().build(num_envs), seed=seed)


def leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from leaves(value)
    else:
        yield state


def equal(a: Any, b: Any) -> bool:
    pairs = list(zip(leaves(a), leaves(b), strict=True))
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run, without what a clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


@each_agent
def test_it_is_an_agent_and_wins_catch(config: AgentConfig) -> None:
    stream = catch_stream()
    agent = config.build(stream.spec, seed=0)
    assert isinstance(agent, Agent)
    for t in islice(interact(stream, agent), TICKS.get(type(config), 1500)):
        agent.learn(t)
    scores = evaluate(agent, CatchConfig(), episodes=100, threads=1)
    assert scores.mean >= 0.95


@each_agent
def test_acting_changes_neither_the_memory_given_nor_what_is_known(config: AgentConfig) -> None:
    stream = catch_stream()
    agent = config.build(stream.spec, seed=0)
    for t in islice(interact(stream, agent), 60):
        agent.learn(t)
    knows = copy.deepcopy(agent.state_dict())
    memory = copy.deepcopy(t.next_memory)
    for explore in (True, False):
        action, following = agent.act(t.next_step, t.next_memory, explore=explore)
        again, _ = agent.act(t.next_step, t.next_memory, explore=explore)
        assert torch.equal(action, again), "a tick's dice are in its memory"
        assert set(following) == set(memory)
    assert equal(memory, t.next_memory)
    assert equal(knows, agent.state_dict())


@each_agent
def test_evaluation_leaves_the_agent_untouched(config: AgentConfig) -> None:
    stream = catch_stream()
    agent = config.build(stream.spec, seed=0)
    loop = interact(stream, agent)
    for t in islice(loop, 60):
        agent.learn(t)
    knows = copy.deepcopy(agent.state_dict())
    first = evaluate(agent, CatchConfig(), episodes=20, threads=1)
    assert equal(knows, agent.state_dict())
    assert first == evaluate(agent, CatchConfig(), episodes=20, threads=1)


@each_agent
@pytest.mark.parametrize(
    "env",
    [CatchConfig(), AtariConfig("breakout", replace(PROTOCOLS["machado"], frames_cap=400))],
    ids=["catch", "breakout-sticky"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    config: AgentConfig, env: Any, tmp_path: Path
) -> None:
    """Metric for metric, and in everything the agent knows; on a real game with sticky actions.

    It stops in the middle of episodes, and of the fit of keys that are learned.
    """
    experiment = Experiment(brief(config), env, seed=3, steps=640, streams=4)
    train(experiment, tmp_path / "straight", OPTIONS)
    train(replace(experiment, steps=288), tmp_path / "halved", OPTIONS)
    train(experiment, tmp_path / "halved", OPTIONS)
    assert numbers(tmp_path / "halved")[-1] == numbers(tmp_path / "straight")[-1]
    episodes = [(tmp_path / name / "episodes.jsonl").read_text() for name in ("straight", "halved")]
    scores = [[json.loads(line)["score"] for line in text.splitlines()] for text in episodes]
    assert scores[0] == scores[1]
    assert len(scores[0]) > 3
    agents = [load(tmp_path / name, device="cpu")[1] for name in ("straight", "halved")]
    assert equal(agents[0].state_dict(), agents[1].state_dict())


@each_agent
def test_one_seed_is_one_run(config: AgentConfig, tmp_path: Path) -> None:
    experiment = Experiment(brief(config), CatchConfig(), seed=1, steps=1000, streams=4)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(replace(experiment, seed=seed), tmp_path / name, OPTIONS)
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    assert numbers(tmp_path / "a") != numbers(tmp_path / "c")


@each_agent
def test_reset_ticks_are_never_learned_from(config: AgentConfig) -> None:
    """What a reset tick holds may be anything: the agent learns the same."""
    agents = [config.build(Stream(Scripted(4)).spec, seed=0) for _ in range(2)]
    for agent, garbage in zip(agents, (0.0, 1e6), strict=True):
        for t in islice(interact(Stream(Scripted(4)), agent), 60):
            reward = torch.where(t.valid, t.next_step.reward, garbage)
            agent.learn(replace(t, next_step=replace(t.next_step, reward=reward)))
    assert equal(
        without_reset_ticks(agents[0].state_dict()), without_reset_ticks(agents[1].state_dict())
    )


def without_reset_ticks(state: dict[str, Any]) -> dict[str, Any]:
    """Reset ticks keep their place in an unfinished segment, with weight 0: drop those."""
    state = copy.deepcopy(state)
    for value in [v for v in state.values() if isinstance(v, dict)]:
        ticks = value.get("ticks", value)
        if "valid" in ticks and "reward" in ticks:
            ticks["reward"] = ticks["reward"] * ticks["valid"]
    return state
