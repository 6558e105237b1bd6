"""Tests of Dyna: what its inner agent learns from, and in which order."""

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest
import torch

from reverie.agents.dyna import Dyna, DynaConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Transition
from reverie.world_models.interface import PlannerConfig
from reverie.world_models.planning.figar import FiGARConfig
from reverie.world_models.planning.straw import STRAWeConfig

from sample_agents import DQN, EXAMPLES

DYNA: DynaConfig = EXAMPLES["dyna"]  # type: ignore[assignment]


def catch() -> BatchedEnv:
    return BatchedEnv(CatchConfig().build(4), seed=0)


def planned(planner: PlannerConfig) -> PPOConfig:
    """PPO with rollouts that reach over the ends of imagined ones."""
    network = MLPConfig((16,))
    return PPOConfig(network=network, planner=planner, num_steps=16, bptt_length=8)


def test_the_inner_agent_learns_from_imagined_steps_only() -> None:
    envs = catch()
    agent = DYNA.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 160):
        agent.learn(t)
    assert agent.schedule.count == 1 + (640 - DYNA.model_learning_starts) // DYNA.imagination_every
    assert agent.inner.steps == agent.schedule.count * DYNA.imagination_envs * (DYNA.horizon + 1)  # type: ignore[attr-defined]
    assert len(agent.simulator.replay) > 0


@pytest.mark.parametrize("inner", ["dqn", "figar", "strawe"])
def test_all_rounds_are_one_sequence_of_timesteps(inner: str) -> None:
    """A learner may unroll over the ends of rollouts; saved and loaded on the way."""
    agents = {"dqn": DQN, "figar": planned(FiGARConfig(5)), "strawe": planned(STRAWeConfig(6, 3))}
    config = replace(DYNA, inner=agents[inner])
    envs = catch()
    agent, resumed = (config.build(envs.spec, seed=0) for _ in range(2))
    transitions = record_inner(agent)
    for t in islice(interact(envs, agent), 130):
        agent.learn(t)
    resumed.load_state_dict(agent.state_dict())
    resumed_transitions = record_inner(resumed)
    for each in (agent, resumed):
        each.imagine(agent.schedule.count + 1)
    assert len(transitions) == 10 * (agent.schedule.count + 1)
    for t, u in zip(transitions[-10:], resumed_transitions, strict=True):
        assert torch.equal(t.action, u.action)
        assert torch.equal(t.step.obs, u.step.obs)
    for before, after in pairwise(transitions):
        assert torch.equal(before.next_carry["rng"], prng.next_rng(before.carry["rng"]))
        assert before.next_carry is after.carry
        assert torch.equal(before.next_step.obs, after.step.obs)
        assert torch.equal(before.next_step.last, after.step.last)
    for i, t in enumerate(transitions):
        assert t.valid.any() == (i % 10 > 0), "ten timesteps a round, of which the first is a reset"


def record_inner(agent: Dyna) -> list[Transition]:
    """Return the list to which the transitions that the inner agent learns from are appended."""
    transitions: list[Transition] = []
    learn = agent.inner.learn

    def recorded(t: Transition) -> Any:
        transitions.append(t)
        return learn(t)

    agent.inner.learn = recorded  # type: ignore[method-assign]
    return transitions


@pytest.mark.parametrize("real_fraction", [0.0, 0.5, 1.0])
def test_a_fraction_of_the_rollouts_is_real(real_fraction: float) -> None:
    """The replay buffer of the inner agent holds real transitions in the last rows."""
    inner = replace(DQN, n_step=1, monte_carlo_weight=0.0)
    config = replace(DYNA, inner=inner, real_fraction=real_fraction, horizon=4)
    envs = catch()
    agent = config.build(envs.spec, seed=0)
    real = set()
    for t in islice(interact(envs, agent), 160):
        for i in t.valid.nonzero()[:, 0].tolist():
            pixels = t.step.obs[i].numpy().tobytes(), t.next_step.obs[i].numpy().tobytes()
            real.add((*pixels, int(t.action[i]), float(t.next_step.reward[i])))
        agent.learn(t)
    assert agent.schedule.count > 1
    replay = agent.inner.replay  # type: ignore[attr-defined]
    batch = replay.gather(torch.arange(len(replay)))
    is_real = [
        (obs.numpy().tobytes(), next_obs.numpy().tobytes(), int(action), float(reward)) in real
        for obs, next_obs, action, reward in zip(
            batch.obs, batch.next_obs, batch.action, batch.reward, strict=True
        )
    ]
    assert all(is_real) == (real_fraction == 1.0)
    assert sum(is_real) >= 0.9 * real_fraction * len(is_real)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DynaConfig(inner=DynaConfig()), "agent.inner is DynaConfig, which"),
        (lambda: DynaConfig(horizon=0), "agent.horizon is 0"),
        (lambda: DynaConfig(real_fraction=1.5), "agent.real_fraction is 1.5"),
        (lambda: DynaConfig(inner=PPOConfig(), real_fraction=0.1), "learns on-policy; set it to 0"),
    ],
)
def test_invalid_settings_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
