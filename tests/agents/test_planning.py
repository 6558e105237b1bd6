"""PPO with planners: sequences are learned from as they were acted; without a plan it is PPO."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie import PRESETS, Experiment, train
from reverie.agents.loop import interact
from reverie.agents.losses import entropy
from reverie.agents.networks import MLPConfig
from reverie.agents.policies import EpsilonGreedy, RandomPolicy
from reverie.agents.ppo import PPO, PPOConfig
from reverie.agents.returns import lambda_returns
from reverie.agents.rollout import SequenceBatch
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.config.serialization import encode
from reverie.experiments.runs.config_differences import config_differences
from reverie.experiments.runs.run import Run
from reverie.world_models.interface import PlannerConfig
from reverie.world_models.planning import PLANNERS
from reverie.world_models.planning.figar import FiGARConfig
from reverie.world_models.planning.reactive import ReactiveConfig
from reverie.world_models.planning.straw import STRAWeConfig

from sample_agents import (
    OPTIONS,
    PLANNER_EXAMPLES,
    SMALL_PPO,
    batch_of,
    equal,
    next_value,
    segment_of,
)

each_planner = pytest.mark.parametrize(
    "planner", PLANNER_EXAMPLES.values(), ids=list(PLANNER_EXAMPLES)
)


def test_every_planner_has_an_example() -> None:
    learned = {name for name, kind in PLANNERS.items() if not kind.needs_privileged}
    assert PLANNER_EXAMPLES.keys() == learned - {"reactive"}


def collect(config: PPOConfig, timesteps: int, n: int = 8) -> tuple[PPO, Any]:
    envs = BatchedEnv(CatchConfig().build(n), seed=0)
    agent = config.build(envs.spec, seed=0)
    return agent, list(islice(interact(envs, agent), timesteps))


def test_the_reactive_planner_is_plain_ppo() -> None:
    """Logits and gradients of a trunk with two linear heads, whatever the plan coefficients."""
    config = replace(SMALL_PPO, plan_kl_coef=5.0, replan_coef=7.0, clip_coef=None, clip_vloss=False)
    agent, transitions = collect(replace(config, planner=ReactiveConfig()), 16)
    assert not agent.network.recurrent
    batch = batch_of(agent, transitions)
    agent.ppo_loss(batch)[0].backward()
    actual = [x.grad.clone() for x in agent.network.parameters() if x.grad is not None]
    agent.network.zero_grad()

    features = agent.network.trunk(batch.obs.flatten(0, 1))
    head: Any = agent.network.planner.action_head  # type: ignore[attr-defined]
    log_pi, value = head(features).log_softmax(1), agent.network.critic(features)[:, 0]
    assert torch.equal(log_pi.exp().argmax(1), agent.network(
        batch.obs, batch.first, {}
    )[0].flatten(0, 1).argmax(1))  # fmt: skip
    weight = batch.valid.flatten() / batch.valid.sum()
    advantage = batch.advantage.flatten()
    centered = advantage - (weight * advantage).sum()
    centered = centered / ((weight * centered**2).sum().sqrt() + 1e-8)
    action_log_prob = log_pi.gather(1, batch.action.flatten()[:, None])[:, 0]
    error = (value - batch.returns.flatten()) ** 2 / 2
    loss_terms = -action_log_prob * centered + 0.5 * error - 0.01 * entropy(log_pi)
    (weight * loss_terms).sum().backward()
    expected = [x.grad for x in agent.network.parameters()]
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_presets_of_planners_differ_from_ppo_in_the_planner() -> None:
    """The variational MDP also has a free energy, and a temperature."""
    free_energy = {"agent.free_energy", "agent.plan_kl_coef", "agent.ent_coef"}
    for name in ("figar", "straw", "strawe", "variational-mdp"):
        changed = config_differences(encode(PRESETS[name]), encode(PRESETS["ppo"]))
        paths = {line.partition(":")[0] for line in changed}
        other_paths = {path for path in paths if not path.startswith("agent.planner")}
        assert other_paths == (free_energy if name == "variational-mdp" else set())


@each_planner
def test_unrolling_a_segment_reproduces_acting_bit_for_bit(planner: PlannerConfig) -> None:
    """Logits and carries of every timestep, across resets, from the segment's first carry."""
    agent, transitions = collect(replace(SMALL_PPO, planner=planner), 31)
    segment = segment_of(agent, transitions)
    assert segment.first[:, 1:].any()
    inputs = segment.obs[:, :-1], segment.first[:, :-1]
    logits, *_, carry = agent.network(*inputs, segment.carry, segment.action)
    for name, x in transitions[-1].next_carry.items():
        assert torch.equal(carry[name], x), name
    for i, t in enumerate(transitions):
        acting_logits, *_ = agent.network(t.step.obs[:, None], t.step.first[:, None], t.carry)
        assert torch.equal(acting_logits[:, 0], logits[:, i])


@each_planner
def test_each_sequence_has_its_initial_carry(planner: PlannerConfig) -> None:
    agent, transitions = collect(replace(SMALL_PPO, planner=planner), 16)
    batch = batch_of(agent, transitions)
    assert batch.action.shape == (16, 8)
    for name, x in transitions[8].carry.items():
        assert torch.equal(batch.carry[name][1::2], x), name
        assert torch.equal(batch.carry[name][::2], transitions[0].carry[name]), name
    means = agent.ppo_loss(batch)[1]
    assert float(means["losses/approx_kl"]) == pytest.approx(0, abs=1e-7)


@each_planner
def test_later_epochs_repeat_the_decisions(planner: PlannerConfig) -> None:
    """After updates the planner still replans at the timesteps at which it replanned."""
    agent, transitions = collect(replace(SMALL_PPO, planner=planner, learning_rate=0.1), 16)
    segment = segment_of(agent, transitions, agent.rollout.carry_every)
    value = next_value(agent, transitions)
    batch = agent.estimate_advantages(segment, value)
    agent.train_on(segment, value)
    inputs = batch.obs, batch.first, batch.carry, batch.action
    replanned = torch.stack([t.extras["replanned"] for t in transitions], 1).view(16, 8)
    assert replanned.any()
    assert not replanned.all()
    assert torch.equal(agent.network(*inputs, batch.decision)[2].replanned, replanned)
    other = agent.network(*inputs, batch.decision.roll(1, 0))[2].replanned
    assert not torch.equal(other, replanned), "decisions have no effect"


def policy_gradients(agent: PPO, batch: SequenceBatch) -> list[torch.Tensor]:
    """Return the gradients of the planner's parameters."""
    agent.network.zero_grad()
    agent.ppo_loss(batch)[0].backward()
    gradients = [x.grad for x in agent.network.planner.parameters()]  # type: ignore[attr-defined]
    return [x.clone() for x in gradients if x is not None]


def test_the_policy_gradient_is_independent_of_continued_timesteps() -> None:
    """Timesteps that only continue a repetition weigh nothing, few or many, whatever they gain."""
    config = replace(SMALL_PPO, planner=FiGARConfig(max_repetitions=4), plan_kl_coef=0.1)
    agent, transitions = collect(config, 16)
    batch = batch_of(agent, transitions)
    batch = replace(batch, log_prob=batch.log_prob - 0.05)
    continued = ~torch.stack([t.extras["replanned"] for t in transitions], 1).view(16, 8)
    assert 0.3 < continued.float().mean() < 0.8
    expected = policy_gradients(agent, batch)
    fewer = replace(batch, valid=batch.valid & ~continued)
    other = replace(batch, advantage=torch.where(continued, 100.0, batch.advantage))
    for changed in (fewer, other):
        for a, b in zip(policy_gradients(agent, changed), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    terms, all_terms = agent.ppo_loss(fewer)[1], agent.ppo_loss(batch)[1]
    for name in ("losses/policy_loss", "losses/entropy", "plan/kl", "plan/replan_prob"):
        torch.testing.assert_close(terms[name], all_terms[name])
    assert terms["losses/value_loss"] != all_terms["losses/value_loss"], "it learns at all of them"


@each_planner
def test_the_value_reads_the_plan_and_sends_no_gradient_into_it(planner: PlannerConfig) -> None:
    agent, transitions = collect(replace(SMALL_PPO, planner=planner), 6)
    step, carry = transitions[-1].step, transitions[-1].carry
    step = replace(step, first=torch.zeros(8, dtype=torch.bool))
    empty = agent.initial(8)
    assert torch.equal(agent.value(step, carry), agent.value(step, empty)), "at first it does not"
    assert agent.network.plan_critic is not None
    torch.nn.init.normal_(agent.network.plan_critic.weight)
    agent.inference_copy.refresh()
    differs = agent.value(step, carry) != agent.value(step, empty)
    assert differs.sum() >= 4
    at_first = replace(step, first=~step.first)
    assert torch.equal(agent.value(at_first, carry), agent.value(at_first, empty))
    batch = batch_of(agent, collect(agent.config, 16)[1])
    value = agent.network(batch.obs, batch.first, batch.carry, batch.action, batch.decision)[1]
    value.sum().backward()
    assert agent.network.plan_critic.weight.grad is not None
    assert all(x.grad is None or not x.grad.any() for x in agent.network.planner.parameters())  # type: ignore[attr-defined]


@pytest.mark.parametrize("env", [CatchConfig(), MazeConfig(rooms=3, view=9, loops=0.2)])
def test_an_initial_code_tells_states_apart(env: EnvConfig) -> None:
    """STRAWe's means differ between states by more than the noise of its samples."""
    envs = BatchedEnv(env.build(8), seed=0)
    policy = RandomPolicy(envs.spec.num_actions)
    obs = torch.cat([t.step.obs for t in islice(interact(envs, policy), 30)])
    config = PPOConfig(network=MLPConfig((256, 256)), planner=STRAWeConfig(length=10, filters=5))
    for seed in range(2):
        network = config.build(envs.spec, seed=seed).network
        with torch.no_grad():
            params = network.planner.encoder.posterior(network.trunk(obs))  # type: ignore[attr-defined]
        mean, log_scale = params.chunk(2, 1)
        assert float(log_scale.mean()) == pytest.approx(-2, abs=0.2)
        assert mean.var(0).mean().sqrt() > log_scale.exp().mean()


@pytest.mark.parametrize("explore", [True, False])
def test_a_repeated_action_is_the_one_taken(explore: bool) -> None:
    envs = BatchedEnv(CatchConfig().build(8), seed=0)
    agent = replace(SMALL_PPO, planner=FiGARConfig(max_repetitions=4)).build(envs.spec, seed=0)
    repeated = 0
    for t in islice(interact(envs, agent, explore=explore), 40):
        assert torch.equal(t.next_carry["action"], t.action)
        repeats = ~t.extras["replanned"]
        repeated += int(repeats.sum())
        assert torch.equal(t.action[repeats], t.carry["action"][repeats])
    assert repeated > 50


def test_a_repeated_action_is_the_one_taken_by_epsilon_greedy_evaluation() -> None:
    """Also where the protocol has replaced the agent's action."""
    envs = BatchedEnv(CatchConfig().build(8), seed=0)
    agent = replace(SMALL_PPO, planner=FiGARConfig(max_repetitions=4)).build(envs.spec, seed=0)
    policy = EpsilonGreedy(agent, 3, 0.5)
    replaced = 0
    for t in islice(interact(envs, policy, explore=False), 30):
        assert torch.equal(t.next_carry["action"], t.action)
        own = agent.act(t.step, t.carry, explore=False).action
        replaced += int((own != t.action).sum())
    assert replaced > 20


def test_free_energy_adds_entropy_and_subtracts_kl_from_the_reward() -> None:
    config = replace(
        SMALL_PPO,
        planner=PLANNER_EXAMPLES["strawe"],
        free_energy=True,
        plan_kl_coef=0.3,
        ent_coef=0.3,
    )
    agent, transitions = collect(config, 16)
    segment, batch = segment_of(agent, transitions), batch_of(agent, transitions)
    with torch.no_grad():
        logits, value, plan, _ = agent.network(
            segment.obs, segment.first, segment.carry, segment.action
        )
    p = logits.softmax(-1)
    policy_entropy = -(p * p.log()).sum(-1)
    reward = segment.reward + 0.3 * (policy_entropy - plan.kl)[:, :-1]
    assert (plan.kl > 0).any()
    returns = lambda_returns(reward, 0.99 * segment.discount, value, segment.valid, 0.95)
    torch.testing.assert_close(batch.returns.view(8, 16), returns)


def test_updates_lower_the_costs_of_planning() -> None:
    """With advantage 0, the planner commits for longer and the KL of its code falls."""
    config = replace(
        SMALL_PPO,
        planner=PLANNER_EXAMPLES["strawe"],
        learning_rate=0.1,
        replan_coef=1.0,
        plan_kl_coef=1.0,
    )
    agent, transitions = collect(config, 16)
    batch = batch_of(agent, transitions)
    batch = replace(batch, advantage=torch.zeros_like(batch.advantage))
    means = [agent.update(batch) for _ in range(20)]
    for cost in ("plan/kl", "plan/replan_prob"):
        assert float(means[-1][cost]) < 0.5 * float(means[0][cost])


def test_it_resumes_in_the_middle_of_a_plan(tmp_path: Path) -> None:
    config = replace(SMALL_PPO, planner=PLANNER_EXAMPLES["strawe"])
    experiment = Experiment(config, CatchConfig(), seed=3, total_timesteps=160, num_envs=4)
    train(experiment, tmp_path / "straight", OPTIONS)
    train(
        replace(experiment, total_timesteps=84), tmp_path / "halved", OPTIONS
    )  # 21 timesteps: in the middle of a segment
    train(experiment, tmp_path / "halved", OPTIONS)
    states = [Run(tmp_path / name).checkpoints.load() or {} for name in ("straight", "halved")]
    assert equal(states[0]["agent"], states[1]["agent"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plan_kl_coef": -0.1}, "agent.plan_kl_coef is -0.1; it must be 0 or more"),
        ({"replan_coef": -1.0}, "agent.replan_coef is -1.0; it must be 0 or more"),
        ({"bptt_length": 0}, "agent.bptt_length is 0; it must be 1 or more"),
        ({"free_energy": True, "plan_kl_coef": 0.5}, "make them equal"),
    ],
)
def test_invalid_costs_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SMALL_PPO, **settings)


def test_a_rollout_that_is_not_a_multiple_of_a_sequence_is_refused() -> None:
    spec = BatchedEnv(CatchConfig().build(4)).spec
    config = replace(SMALL_PPO, num_steps=30)
    config.build(spec)  # without a carry sequences have one timestep
    with pytest.raises(UsageError, match=r"num_steps is 30 and agent\.bptt_length is 8"):
        replace(config, planner=PLANNER_EXAMPLES["straw"]).build(spec)
