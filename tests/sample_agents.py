"""Agents with settings for tests, and comparisons of their states."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reverie import TrainOptions
from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.dqn import DQNConfig
from reverie.agents.dyna import DynaConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.episodic.nait import NAITConfig
from reverie.agents.episodic.nec import NECConfig
from reverie.agents.informed import InformedConfig
from reverie.agents.interface import ActOutput, Agent, AgentConfig
from reverie.agents.loop import interact
from reverie.agents.mpc import MPCConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPO, PPOConfig
from reverie.agents.pqn import PQNConfig
from reverie.agents.rollout import Rollout, SequenceBatch
from reverie.agents.simulator import ModelBasedConfig
from reverie.agents.thompson import ThompsonConfig
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.interface import Carry, Segment, TimeStep, Transition
from reverie.envs.maze import (
    MOVES,
    Maze,
)
from reverie.experiments.config.registry import AGENTS
from reverie.experiments.sessions.throughput import without_machine_metrics
from reverie.world_models.interface import PlannerConfig
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.planning.figar import FiGARConfig
from reverie.world_models.planning.straw import STRAWConfig, STRAWeConfig
from reverie.world_models.prediction.feedforward import FeedforwardConfig
from reverie.world_models.prediction.rssm import TINY_RSSM
from reverie.world_models.representation.projection import ProjectionConfig
from reverie.world_models.representation.variational import VariationalConfig

OPTIONS = TrainOptions(device="cpu", threads=1, random_play_seconds=0, quiet=True, log_every=500)

DQN = DQNConfig(
    network=MLPConfig(),
    n_step=3,
    exploration_steps=4000,
    buffer_size=20_000,
    learning_starts=100,
    replay_ratio=0.0625,
    target_network_frequency=400,
    learning_rate=2e-3,
)

TINY = FeedforwardConfig(
    size="tiny",
    horizons=(1, 4),
    learning_rates=(3e-3, 1e-3),
    batch_sizes=(64, 32),
    updates=(900, 1),
)
"""A predictor for small frames."""

EXAMPLES: dict[str, AgentConfig] = {
    "nait": NAITConfig(representation=ProjectionConfig()),  # many distances of Catch are equal
    "nec": NECConfig(
        network=MLPConfig(),
        key_size=16,
        num_neighbors=10,
        n_step=20,
        exploration_steps=2000,
        buffer_size=5_000,
        learning_starts=200,
        replay_ratio=0.0625,
        learning_rate=1e-3,
    ),
    "dqn": DQN,
    "dyna": DynaConfig(
        TINY,
        inner=replace(
            DQN,
            buffer_size=4_000,
            replay_ratio=0.25,
            target_network_frequency=200,
            learning_rate=1e-3,
        ),
        horizon=9,
        model_learning_starts=400,
        model_replay_ratio=1.5,
    ),
    "mpc": MPCConfig(
        replace(TINY, head_hidden=32),
        samples=32,
        horizon=9,
        iterations=2,
        model_learning_starts=800,
        model_replay_ratio=1.0,
    ),
    "thompson": ThompsonConfig(
        network=MLPConfig(),
        num_heads=5,
        end_epsilon=0.1,
        exploration_steps=2000,
        buffer_size=20_000,
        learning_starts=100,
        replay_ratio=0.0625,
        target_network_frequency=400,
        learning_rate=2e-3,
        act_from="student",
    ),
    "informed": InformedConfig(TINY, inner=DQN, exploration_steps=4000, trajectory_length=4),
    "ppo": PPOConfig(
        network=MLPConfig(),
        num_steps=32,
        num_minibatches=2,
        clip_coef=0.2,
        learning_rate=5e-3,
        anneal_steps=0,
    ),
    "pqn": PQNConfig(
        network=MLPConfig(),
        num_steps=16,
        num_minibatches=4,
        end_epsilon=0.1,
        exploration_steps=3000,
        learning_rate=2e-3,
    ),
}
"""Settings with which an agent learns Catch within a test, if its defaults do not suffice."""

MFEC_VAE = MFECConfig(
    representation=VariationalConfig(VAEConfig(size=8)), fit_after=200, fit_updates=300
)
"""Episodic control with learned keys."""

LEARNING_TIMESTEPS: dict[type[AgentConfig], int] = {DynaConfig: 300, MPCConfig: 450}
"""Timesteps of eight envs in which an agent learns Catch, if not 1500."""


SMALL_CATCH = CatchConfig(rows=6, columns=3)
SMALL_BREAKOUT = AtariConfig(
    "breakout", replace(PROTOCOLS["machado"], frames_cap=200, height=44, width=44)
)
"""A real game with sticky actions, small frames and short episodes."""


def for_small_catch(config: AgentConfig) -> tuple[AgentConfig, int]:
    """Return the config, and the timesteps of eight envs in which it learns ``SMALL_CATCH``."""
    if isinstance(config, DynaConfig):
        return replace(config, horizon=5, model_learning_starts=240, model_replay_ratio=0.7), 150
    if isinstance(config, MPCConfig):
        return replace(config, horizon=5, samples=16, model_learning_starts=300), 250
    if isinstance(config, InformedConfig):
        return replace(config, model_replay_ratio=0.05), 700
    return config, 400 if isinstance(config, NECConfig | NAITConfig) else 700


def shortened(config: AgentConfig) -> AgentConfig:
    """Return a config with few model updates and samples, for tests in which little is learned."""
    if config is MFEC_VAE:
        return replace(MFEC_VAE, fit_updates=60)
    if isinstance(config, MPCConfig):
        config = replace(config, samples=4, horizon=3)
    if isinstance(config, ModelBasedConfig):
        return replace(
            config, model_learning_starts=120, model_replay_ratio=config.model_replay_ratio / 10
        )
    return config


LAW_AGENTS = {name: EXAMPLES.get(name, kind()) for name, kind in AGENTS.items()}

LAW_AGENTS["mfec-vae"] = MFEC_VAE
LAW_AGENTS["dyna-latent"] = replace(
    EXAMPLES["dyna"],  # type: ignore[call-arg]
    predictor=replace(TINY_RSSM, units=64, deter=64, context=2, segment_length=5, batch_size=16),
    dreams="latent",
)


def catch_envs(seed: int = 0, num_envs: int = 8) -> BatchedEnv:
    return BatchedEnv(CatchConfig().build(num_envs), seed=seed)


def leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from leaves(value)
    else:
        yield state


def equal(a: Any, b: Any) -> bool:
    pairs = list(zip(leaves(a), leaves(b), strict=True))
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)


def metric_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without those of the machine."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [without_machine_metrics(row) for row in rows]


PLANNER_EXAMPLES: dict[str, PlannerConfig] = {
    "figar": FiGARConfig(max_repetitions=4),
    "straw": STRAWConfig(length=10, filters=4, hidden=32, initial_replan_logit=0.0),
    "strawe": STRAWeConfig(length=10, filters=4, hidden=32, initial_replan_logit=0.0, code=8),
}

SMALL_PPO = PPOConfig(
    network=MLPConfig(hidden=(32,)),
    num_steps=16,
    bptt_length=8,
    update_epochs=2,
    num_minibatches=2,
    anneal_steps=0,
)


def segment_of(
    agent: PPO, transitions: list[Transition], carry_every: int | None = None
) -> Segment:
    extras = tuple(agent.rollout.extras)
    rollout = Rollout(agent.spec, len(transitions), extras=extras, carry_every=carry_every)
    for t in transitions:
        rollout.append(t)
    return rollout.pop()


def next_value(agent: PPO, transitions: list[Transition]) -> Tensor:
    return agent.value(transitions[-1].next_step, transitions[-1].next_carry)


def batch_of(agent: PPO, transitions: list[Transition]) -> SequenceBatch:
    segment = segment_of(agent, transitions, agent.rollout.carry_every)
    return agent.estimate_advantages(segment, next_value(agent, transitions))


class ShortestPath:
    """Policy that follows the shortest path, read from the environment's state."""

    def __init__(self, env: Maze) -> None:
        self.env = env

    def initial(self, n: int) -> Carry:
        return {}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        env, index = self.env, np.arange(self.env.num_envs)
        around = env.walker[:, None] + np.array(MOVES)
        distance = env.distance[index[:, None], around[..., 0], around[..., 1]]
        action = np.where(distance < 0, 10**6, distance).argmin(1)
        return ActOutput(torch.from_numpy(action), carry)


def solved_at(bonus: BonusConfig, seed: int, episodes: int = 4000) -> int | None:
    """Return the episode at which a DQN has had a hundred perfect greedy evaluations in a row.

    Epsilon falls from 1 to 0.1 in the first 500 episodes; learning starts after 20. An evaluation
    follows every eight episodes. Returns None if that does not happen within ``episodes``.
    """
    size, num_envs = 14, 8
    envs = BatchedEnv(DeepSeaConfig(size).build(num_envs), seed=seed)
    agent = DQNConfig(
        network=MLPConfig((64, 64)),
        exploration_steps=500 * (size + 1),
        learning_starts=20 * (size + 1),
        buffer_size=100_000,
        learning_rate=1e-3,
        target_network_frequency=400,
    ).build(envs.spec, seed=seed)
    counts = bonus.build(envs.spec, seed=seed)
    in_a_row = num_episodes = 0
    for timestep, t in enumerate(interact(envs, agent), 1):
        agent.learn(t.with_bonus(counts(t)))
        num_episodes += int(t.next_step.last.sum())
        if timestep % (size + 1) == 0:
            in_a_row = in_a_row + 1 if greedy_score(agent, size) > 0.985 else 0
        if in_a_row == 100 or num_episodes >= episodes:
            return num_episodes if in_a_row == 100 else None
    raise AssertionError("the loop is endless")


def greedy_score(agent: Agent, size: int) -> float:
    envs = BatchedEnv(DeepSeaConfig(size).build(1))
    play = interact(envs, agent, explore=False)
    return sum(float(t.next_step.reward[0]) for t in islice(play, size))
