"""Tests of Dyna: what its inner agent learns from, and in which order."""

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest
import torch

from reverie.agents.dqn import DQNConfig
from reverie.agents.dyna import Dyna, DynaConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig, NatureConfig
from reverie.agents.policies import EpsilonGreedy
from reverie.agents.ppo import PPOConfig
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Transition
from reverie.world_models.interface import PlannerConfig
from reverie.world_models.planning.figar import FiGARConfig
from reverie.world_models.planning.straw import STRAWeConfig
from reverie.world_models.prediction.latent_dreams import LatentPredictor, filtered_states

from sample_agents import DQN, EXAMPLES, LAW_AGENTS

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


@pytest.mark.parametrize("imagination_every", [1, 2, 8])
def test_several_rounds_follow_a_timestep_if_they_are_due(imagination_every: int) -> None:
    """The first update is where the settings say, up to a timestep of the envs."""
    envs = catch()
    inner = replace(DQN, monte_carlo_weight=0.0)
    config = replace(DYNA, inner=inner, model_learning_starts=100, imagination_envs=4, horizon=3)
    config = replace(config, imagination_every=imagination_every)
    agent, first_update = config.build(envs.spec, seed=0), 0
    for t in islice(interact(envs, agent), 50):
        agent.learn(t)
        if agent.inner.schedule.count and not first_update:  # type: ignore[attr-defined]
            first_update = agent.simulator.steps
    assert agent.schedule.count == 1 + 100 // imagination_every
    assert 0 <= first_update - config.first_update(4) < 4


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


LATENT: DynaConfig = LAW_AGENTS["dyna-latent"]  # type: ignore[assignment]


def test_the_state_in_the_carry_is_that_of_the_episodes_observations() -> None:
    """It is filtered by the actions taken, also those of a policy around the agent."""
    envs = catch()
    agent = LATENT.build(envs.spec, seed=0)  # whose predictor never learns here
    predictor = agent.simulator.predictor
    assert isinstance(predictor, LatentPredictor)
    policy = EpsilonGreedy(agent, 3, 0.3)
    transitions = list(islice(interact(envs, policy), 15))
    begin = next(i for i, t in enumerate(transitions) if i and t.step.first.all())
    episode = transitions[begin:]
    obs, first, action = (
        torch.stack(x, 1)
        for x in zip(*((t.step.obs, t.step.first, t.action) for t in episode), strict=True)
    )
    states = filtered_states(predictor, obs, action[:, :-1], first)
    assert len(states) > 3
    for t, state in zip(episode, states, strict=True):
        torch.testing.assert_close(t.next_carry["context_deter"], state["deter"])
        assert torch.equal(t.extras["observed"], predictor.features(state))


def test_the_inner_agent_learns_from_features_alone() -> None:
    """Its dreams are latent, and so are the recorded segments that replace some of them."""
    envs = catch()
    agent = replace(LATENT, real_fraction=0.5, model_learning_starts=64).build(envs.spec, seed=0)
    transitions = record_inner(agent)
    for t in islice(interact(envs, agent), 20):
        agent.learn(t)
    assert transitions
    assert {tuple(t.step.obs.shape) for t in transitions} == {(32, 1, 1, 64 + 64)}
    latent = transitions[-1].step.obs[:, 0, 0, 64:].unflatten(1, (8, 8))
    assert ((latent == 255).sum(2) == 1).all(), "one class of each variable"


def test_dreams_of_short_episodes_start_within_them() -> None:
    """Where no context of the predictor's length is within an episode, contexts are shorter."""
    envs = catch()
    config = replace(LATENT, predictor=replace(LATENT.predictor, context=15))  # type: ignore[call-arg]
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 60):
        agent.simulator.learn(t)
    starts = agent.simulator.sample_starts(8)
    assert 1 <= starts.obs.shape[1] <= 9
    assert not starts.last.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DynaConfig(inner=DynaConfig()), "agent.inner is DynaConfig, which"),
        (lambda: DynaConfig(horizon=0), "agent.horizon is 0"),
        (lambda: DynaConfig(real_fraction=1.5), "agent.real_fraction is 1.5"),
        (lambda: DynaConfig(real_fraction=0.01), "agent.imagination_envs, 32, leaves one"),
        (lambda: DynaConfig(real_fraction=0.99), "agent.imagination_envs, 32, leaves one"),
        (lambda: DynaConfig(inner=PPOConfig(), real_fraction=0.1), "learns on-policy; set it to 0"),
        (
            lambda: DynaConfig(dreams="latent"),
            "no latent state; set it to frames, or choose",
        ),
        (
            lambda: replace(LATENT, inner=DQNConfig(NatureConfig())).build(catch().spec),
            "36 x 36 pixels, but this env's are 1 x 128; choose agent.inner.network:mlp",
        ),
    ],
)
def test_invalid_settings_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
