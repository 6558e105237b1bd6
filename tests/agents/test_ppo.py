"""PPO beyond the laws of agents: its losses, its carry and its learning-rate schedule."""

import math
from dataclasses import fields, replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch.nn import functional

from reverie.agents.loop import interact
from reverie.agents.losses import normalize_advantages, ppo_policy_loss, ppo_value_loss
from reverie.agents.networks import MLPConfig
from reverie.agents.policies import sample
from reverie.agents.ppo import PPO, PPOConfig
from reverie.agents.rollout import SequenceBatch, select
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Transition

from sample_agents import batch_of, next_value, segment_of
from sample_envs import ScriptedEnv

SMALL = PPOConfig(network=MLPConfig(hidden=(16,)), num_steps=8, num_minibatches=2)
A2C = replace(
    SMALL, update_epochs=1, num_minibatches=1, clip_coef=None, clip_vloss=False, norm_adv=False
)


def collect(agent: PPO, env: Any, timesteps: int) -> list[Transition]:
    return list(islice(interact(BatchedEnv(env), agent), timesteps))


def agent_for(config: PPOConfig, env: Any, seed: int = 0) -> PPO:
    return config.build(BatchedEnv(env).spec, seed=seed)


def test_minibatches_are_rows_with_observations_in_channels_last_format() -> None:
    agent = agent_for(SMALL, CatchConfig().build(4))
    batch = batch_of(agent, collect(agent, CatchConfig().build(4), 8))
    rows = torch.tensor([5, 0, 5, 31])
    minibatch = select(batch, rows)
    assert minibatch.privileged is batch.privileged is None  # no planner reads the true state
    none = {"privileged", "int_value", "int_advantage"}
    for name in {x.name for x in fields(batch)} - none - {"carry"}:
        assert torch.equal(getattr(minibatch, name), getattr(batch, name)[rows]), name
    assert minibatch.obs.movedim(-3, -1).is_contiguous()


@pytest.mark.parametrize(("num_minibatches", "updates"), [(2, 2), (9, 9), (32, 32), (40, 32)])
def test_an_epoch_has_as_many_minibatches_as_set(num_minibatches: int, updates: int) -> None:
    """Of 32 rows, as even as can be; with fewer rows each is a minibatch."""
    config = replace(SMALL, num_minibatches=num_minibatches, update_epochs=1)
    agent = agent_for(config, CatchConfig().build(4))
    segment, sizes, update = collect(agent, CatchConfig().build(4), 8), [], agent.update

    def counted(batch: SequenceBatch) -> dict[str, torch.Tensor]:
        sizes.append(len(batch))
        return update(batch)

    agent.update = counted  # type: ignore[method-assign]
    agent.fit(batch_of(agent, segment))
    assert len(sizes) == updates
    assert sum(sizes) == 32
    assert max(sizes) - min(sizes) <= 1


def test_policy_loss_by_hand() -> None:
    ratio, advantage = torch.tensor([1.0, 1.5, 1.5, 0.5, 0.5]), torch.tensor([2.0, 2.0, -2, 2, -2])
    unclipped = ppo_policy_loss(ratio.log(), advantage, None)
    assert unclipped.tolist() == pytest.approx([-2.0, -3.0, 3.0, -1.0, 1.0])
    # Improvements are clipped at ratios 1.25 and 0.75; deteriorations never are.
    clipped = ppo_policy_loss(ratio.log(), advantage, 0.25)
    assert clipped.tolist() == pytest.approx([-2.0, -2.5, 3.0, -1.0, 1.5])


def test_value_loss_by_hand() -> None:
    value, old_value = torch.tensor([1.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 1.0])
    returns = torch.tensor([3.0, 3.0, -1.0])
    assert ppo_value_loss(value, old_value, returns, None).tolist() == [2.0, 0.5, 4.5]
    # Approaching 3 beyond 1.5 is clipped: (1.5 - 3)^2 / 2; moving away from -1 is not.
    assert ppo_value_loss(value, old_value, returns, 0.5).tolist() == [2.0, 1.125, 4.5]


def test_advantages_are_normalized_under_weights() -> None:
    x = torch.tensor([[[1.0, 3.0, 1e6]], [[5.0, 1e6, 9.0]]])
    weight = torch.tensor([[[0.5, 0.5, 0.0]], [[0.5, 0.0, 0.5]]])
    first, second = normalize_advantages(x, weight)  # two minibatches, each by itself
    assert first[0, :2].tolist() == pytest.approx([-1.0, 1.0])
    assert second[0, [0, 2]].tolist() == pytest.approx([-1.0, 1.0])


def test_one_epoch_without_clipping_is_a2c() -> None:
    """The gradient of log pi(a) A, squared error and entropy, written out."""
    agent = agent_for(A2C, ScriptedEnv(4))
    transitions = collect(agent, ScriptedEnv(4), 8)
    segment, batch = segment_of(agent, transitions), batch_of(agent, transitions)
    agent.ppo_loss(batch)[0].backward()
    actual = [x.grad.clone() for x in agent.network.parameters() if x.grad is not None]
    agent.network.zero_grad()
    features = agent.network.trunk(segment.obs[:, :-1].flatten(0, 1))
    logits = agent.network.planner.action_head(features)  # type: ignore[attr-defined]
    values = agent.network.critic(features)[:, 0]
    returns = batch.returns.flatten()
    loss, count = torch.zeros(()), 0
    for i in range(32):
        if segment.valid.flatten()[i]:
            p = logits[i].softmax(0)
            loss = loss - p[segment.action.flatten()[i]].log() * batch.advantage.flatten()[i]
            loss = loss + 0.5 * 0.5 * (values[i] - returns[i]) ** 2
            loss = loss + 0.01 * (p * p.log()).sum()
            count += 1
    (loss / count).backward()
    expected = [x.grad for x in agent.network.parameters() if x.grad is not None]
    assert count == 24
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_before_an_update_log_probabilities_are_those_of_acting() -> None:
    """KL and clip fraction are 0, with and without an LSTM."""
    for config in (SMALL, replace(SMALL, lstm=8)):
        agent = agent_for(config, ScriptedEnv(4))
        batch = batch_of(agent, collect(agent, ScriptedEnv(4), 8))
        means = agent.ppo_loss(batch)[1]
        assert float(means["losses/approx_kl"]) == pytest.approx(0, abs=1e-7)
        assert float(means["losses/clipfrac"]) == 0
        assert float(means["losses/entropy"]) == pytest.approx(math.log(2), abs=1e-3)


def test_a_separate_critic_shares_no_weight_with_the_policy() -> None:
    for separate in (False, True):
        agent = agent_for(replace(SMALL, separate_critic=separate), ScriptedEnv(4))
        obs, first = torch.full((4, 1, 1, 2, 2), 255, dtype=torch.uint8), torch.ones(4, 1).bool()
        logits, value, _, _ = agent.network(obs, first, agent.initial(4))
        reached = list[set[str]]()
        for output in (logits, value):
            agent.network.zero_grad()
            output.sum().backward(retain_graph=True)
            weights = agent.network.named_parameters()
            reached.append({name for name, x in weights if x.grad is not None})
        assert all(reached)
        assert bool(reached[0] & reached[1]) is not separate


def test_the_lstm_unrolls_as_it_acted_and_resets_at_first() -> None:
    """Unrolled from a segment's first carry, its carry ends as that of acting did."""
    config = replace(SMALL, lstm=8)
    agent = agent_for(config, CatchConfig().build(4))
    transitions = collect(agent, CatchConfig().build(4), 30)[7:]  # first at timesteps 4, 15
    segment = segment_of(agent, transitions)
    assert segment.first[:, 1:-1].any()
    assert set(segment.carry) == {"hidden", "cell", "rng"}
    _, _, _, next_carry = agent.network(segment.obs[:, :-1], segment.first[:, :-1], segment.carry)
    for name, x in transitions[-1].next_carry.items():
        assert torch.allclose(next_carry[name], x, atol=1e-6), name
    # The initial carry has no effect after the first reset.
    other = {name: x + 1 if name != "rng" else x for name, x in segment.carry.items()}
    a, b = (agent.network(segment.obs, segment.first, carry)[1] for carry in (segment.carry, other))
    after_reset = segment.first.cumsum(1) > 0
    assert torch.allclose(a[after_reset], b[after_reset], atol=1e-6)
    assert not torch.allclose(a[~after_reset], b[~after_reset], atol=1e-3)


def test_a_recurrent_agent_solves_a_memory_task() -> None:
    """The first observation cues the action rewarded at the end: without an LSTM half is won."""
    config = replace(
        SMALL, num_steps=16, num_minibatches=1, update_epochs=2, learning_rate=2e-2,
        anneal_steps=0, gamma=0.9, network=MLPConfig(hidden=(16,)),
    )  # fmt: skip
    scores = {}
    for lstm in (0, 16):
        envs = BatchedEnv(Recall(16))
        agent = replace(config, lstm=lstm).build(envs.spec, seed=0)
        rewards: list[float] = []
        for t in islice(interact(envs, agent), 800):
            agent.learn(t)
            rewards += t.next_step.reward[t.next_step.last].tolist()
        scores[lstm] = sum(rewards[-300:]) / 300
    assert scores[16] > 0.9
    assert scores[0] < 0.7


class Recall(ScriptedEnv):
    """A cue at the first observation, zeros after it; reward 1 for the cued third action."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs, shape=(1, 2, 2))
        self.rng = torch.Generator().manual_seed(0)
        self.cue = torch.zeros(num_envs, dtype=torch.int64).numpy()

    def step(self, actions: Any) -> Any:
        obs, _, terminated, truncated, _ = super().step(actions)
        done = terminated | truncated
        return obs, done * (actions == self.cue) * 1.0, done, done & False, {}

    def _observe(self) -> Any:
        draw = torch.randint(2, (self.num_envs,), generator=self.rng).numpy()
        first = self.time == 0
        self.cue = (1 - first) * self.cue + first * draw
        self.buffer[:] = (first * (self.cue + 1) * 100).reshape(-1, 1, 1, 1)
        return self.buffer


TWO_VALUES = replace(SMALL, intrinsic_value=True, int_gamma=0.5, int_coef=3.0, ext_coef=0.25)


def with_bonuses(transitions: list[Transition]) -> list[Transition]:
    """Return transitions with a bonus of the number of the timestep, and none at resets."""
    return [t.with_bonus(i * t.valid.float()) for i, t in enumerate(transitions)]


def test_values_of_rewards_and_bonuses_have_returns_of_their_own() -> None:
    agent = agent_for(TWO_VALUES, ScriptedEnv(4))
    transitions = with_bonuses(collect(agent, ScriptedEnv(4), 8))
    segment, batch = segment_of(agent, transitions), batch_of(agent, transitions)
    values = agent.network(segment.obs, segment.first, segment.carry)[1].detach()
    assert batch.int_value is not None
    assert batch.int_advantage is not None
    for value, column in zip(
        values[:, :-1].unbind(-1), (batch.value, batch.int_value), strict=True
    ):
        torch.testing.assert_close(value.reshape(-1, 1), column)
    without = [t.with_bonus(torch.zeros(4)) for t in transitions]
    other = batch_of(agent, without)
    assert torch.equal(batch.advantage, other.advantage), "of rewards alone"
    int_value, expected = values[..., 1], []
    for env in range(4):
        total = float(int_value[env, 8])
        returns = []
        for t in reversed(range(8)):
            if segment.valid[env, t]:
                after = 0.05 * float(int_value[env, t + 1]) + 0.95 * total
                total = float(segment.bonus[env, t]) + 0.5 * after
            else:
                total = 0.05 * float(int_value[env, t + 1]) + 0.95 * total
            returns.append(total)
        expected += returns[::-1]
    actual = (batch.int_advantage + batch.int_value).flatten().tolist()
    assert actual == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_two_values_by_hand() -> None:
    """Gradients of both, weighted advantages, and the value of bonuses learned at resets too."""
    config = replace(TWO_VALUES, norm_adv=False, clip_coef=None, clip_vloss=False)
    agent = agent_for(config, ScriptedEnv(4))
    transitions = with_bonuses(collect(agent, ScriptedEnv(4), 8))
    batch = batch_of(agent, transitions)
    assert batch.int_value is not None
    assert batch.int_advantage is not None
    loss, metrics = agent.ppo_loss(batch)
    logits, values, _, _ = agent.network(batch.obs, batch.first, batch.carry)
    policy = -(0.25 * batch.advantage + 3 * batch.int_advantage)[batch.valid].mean()
    of_reward = (values[..., 0] - batch.returns)[batch.valid].square().mean() / 2
    of_bonus = (values[..., 1] - batch.int_value - batch.int_advantage).square().mean() / 2
    entropy = torch.distributions.Categorical(logits=logits).entropy()[batch.valid].mean()
    expected = policy + 0.5 * (of_reward + of_bonus) - 0.01 * entropy
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["losses/int_value_loss"], of_bonus.detach())


def test_the_value_of_bonuses_is_learned_beside_that_of_rewards() -> None:
    """Bonuses of 1 for ever are worth 1 / (1 - gamma), whatever the rewards and episodes are."""
    config = replace(
        TWO_VALUES, int_gamma=0.8, learning_rate=1e-2, anneal_steps=0, gamma=0.5, clip_vloss=False,
    )  # fmt: skip
    envs = BatchedEnv(ScriptedEnv(4))
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 1600):
        agent.learn(t.with_bonus(t.valid.float()))
    values = agent.value(t.next_step, t.next_carry)
    assert values[:, 1].tolist() == pytest.approx([5.0] * 4, abs=0.3)
    assert (values[:, 0] < 4).all()


def test_samples_follow_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).repeat(20_000, 1)
    actions = sample(logits, prng.initial_rng(0, prng.Purpose.TRAIN, 20_000))
    frequency = functional.one_hot(actions, 3).float().mean(0)
    assert torch.allclose(frequency, logits[0].softmax(0), atol=0.01)


def test_the_learning_rate_decays_to_zero() -> None:
    config = replace(SMALL, anneal_steps=96, learning_rate=1.0, max_grad_norm=1e-9)
    agent = agent_for(config, ScriptedEnv(4))
    learning_rates = []
    for t in islice(interact(BatchedEnv(ScriptedEnv(4)), agent), 32):
        metrics = agent.learn(t)
        learning_rates += [metrics[x] for x in ["charts/learning_rate"] if x in metrics]
    assert learning_rates == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize(
    "settings",
    [
        {"num_steps": 0},
        {"update_epochs": 0},
        {"num_minibatches": -1},
        {"lstm": -1},
        {"gae_lambda": 1.5},
        {"int_gamma": 1.5},
        {"int_coef": -1.0},
        {"total_clip": 1.0, "intrinsic_value": True},
        {"separate_critic": True, "lstm": 8},
        {"clip_coef": 0.0},
        {"learning_rate": math.nan},
        {"anneal_steps": -1},
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(settings))} is"):
        PPOConfig(**settings)


def test_a_minibatch_too_large_for_memory_is_refused_with_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = agent_for(SMALL, ScriptedEnv(4))
    ppo_loss = agent.ppo_loss

    def small_memory(batch: Any) -> Any:
        if len(batch.action) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return ppo_loss(batch)

    monkeypatch.setattr(agent, "_loss", small_memory)
    transitions = collect(agent, ScriptedEnv(4), 8)
    segment, value = segment_of(agent, transitions), next_value(agent, transitions)
    with pytest.raises(UsageError, match=r"minibatch of 16 rows .* 4 rows fit; .*minibatches 8"):
        agent.train_on(segment, value)


def test_a_rollout_too_large_for_memory_is_refused() -> None:
    with pytest.raises(UsageError, match=r"agent.num_steps is 1000000000000"):
        agent_for(replace(SMALL, num_steps=10**12), ScriptedEnv(4))
