"""Tests of DQN: targets, schedules and networks."""

import copy
import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reverie.agents.dqn import DQN, DQNConfig
from reverie.agents.loop import interact
from reverie.agents.networks import NETWORKS, ImpalaConfig, MLPConfig, NatureConfig
from reverie.agents.output_networks import QNetwork, inference_copy
from reverie.agents.returns import double_q_targets, q_targets
from reverie.agents.schedules import linear
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.layout import Layout
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.world_models.precision import FLOAT32, Precision, shared_autocast_cache

from sample_envs import ScriptedEnv

SMALL = DQNConfig(
    network=MLPConfig(hidden=(16,)), buffer_size=4000, learning_starts=10, exploration_steps=100
)


def trained(config: DQNConfig, envs: BatchedEnv, timesteps: int) -> DQN:
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), timesteps):
        agent.learn(t)
    return agent


def test_targets_by_hand() -> None:
    """With double Q the online network selects the next action, and the target network evaluates
    it; without, the target network does both."""
    reward, discount = torch.tensor([1.0, 0.5, -1.0]), torch.tensor([0.9, 0.0, 0.5])
    online_q = torch.tensor([[1.0, 2.0], [5.0, 1.0], [0.0, -1.0]])
    target_q = torch.tensor([[10.0, 3.0], [7.0, 7.0], [4.0, 100.0]])
    double = double_q_targets(reward, discount, online_q, target_q)
    assert double.tolist() == pytest.approx([1 + 0.9 * 3, 0.5, -1 + 0.5 * 4])
    plain = q_targets(reward, discount, target_q)
    assert plain.tolist() == pytest.approx([1 + 0.9 * 10, 0.5, -1 + 0.5 * 100])


@pytest.mark.parametrize("double_q", [True, False])
def test_the_loss_mixes_in_complete_returns_only_and_is_linear_beyond_one(double_q: bool) -> None:
    """With deaths and time-outs, against the definition, one transition at a time."""
    config = DQNConfig(
        network=MLPConfig(hidden=(16,)),
        double_q=double_q,
        monte_carlo_weight=0.4,
        n_step=2,
        gamma=0.9,
        reward_clip=None,
        buffer_size=400,
        learning_starts=100,
        learning_rate=0.1,
        target_network_frequency=28,
    )
    agent = trained(config, BatchedEnv(ScriptedEnv(4, shape=(1, 4, 4))), 40)
    for x in agent.target_network.head.parameters():  # the networks prefer different actions
        x.copy_(x.flip(0))
    before = copy.deepcopy(agent)
    loss, mean_value = agent.update()
    batch = before.replay.sample(32)
    assert 0 < batch.complete.sum() < 32
    losses, values, num_disagreements = [], [], 0
    before.q_network.requires_grad_(False)
    for i in range(32):
        online, target = (
            net(batch.next_obs[i : i + 1])[0] for net in (before.q_network, before.target_network)
        )
        best = (online if double_q else target).argmax()
        num_disagreements += int(online.argmax() != target.argmax())
        td_target = float(batch.reward[i] + batch.discount[i] * target[best])
        if batch.complete[i]:
            td_target = 0.6 * td_target + 0.4 * float(batch.returns[i])
        value = float(before.q_network(batch.obs[i : i + 1])[0, batch.action[i]])
        error = abs(value - td_target)
        losses.append(0.5 * error**2 if error < 1 else error - 0.5)
        values.append(value)
    assert min(losses) < 0.5 < max(losses), "both pieces of the loss are tested"
    assert num_disagreements, "the two targets differ"
    assert float(loss) == pytest.approx(sum(losses) / 32, rel=1e-4)
    assert float(mean_value) == pytest.approx(sum(values) / 32, rel=1e-4)


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize("ratio", [0.25, 0.3, 2.0])
def test_updates_are_counted_exactly(num_envs: int, ratio: float) -> None:
    config = DQNConfig(
        network=MLPConfig(hidden=(4,)),
        buffer_size=400,
        learning_starts=10,
        replay_ratio=ratio,
        monte_carlo_weight=0.0,
    )
    envs = BatchedEnv(CatchConfig().build(num_envs), seed=0)
    agent = config.build(envs.spec, seed=0)
    for timestep, t in enumerate(islice(interact(envs, agent), 30), start=1):
        agent.learn(t)
        assert agent.schedule.count == max(0, math.floor((timestep * num_envs - 10) * ratio))


def test_updates_missed_before_the_first_episode_end_are_made_up_at_twice_the_rate() -> None:
    envs = BatchedEnv(CatchConfig().build(8), seed=0)
    agent = SMALL.build(envs.spec, seed=0)
    counts = []
    for t in islice(interact(envs, agent), 30):
        agent.learn(t)
        counts.append(agent.schedule.count)
    assert counts[:8] == [0] * 8
    assert counts[8:12] == [4, 8, 12, 16]
    assert counts[-1] == (30 * 8 - 10) // 4


def test_the_target_network_is_copied_at_its_frequency() -> None:
    envs = BatchedEnv(CatchConfig().build(8), seed=0)
    config = replace(
        SMALL, learning_starts=8, target_network_frequency=40
    )  # two updates per timestep
    agent = config.build(envs.spec, seed=0)
    copies = 0
    for t in islice(interact(envs, agent), 60):
        agent.learn(t)
        same = torch.equal(agent.q_network.head.weight, agent.target_network.head.weight)
        assert same == (agent.schedule.count % 10 == 0)
        copies += same and agent.schedule.count > 0
    assert copies >= 5


def test_epsilon_decreases_with_agent_steps_and_evaluation_is_greedy() -> None:
    envs = BatchedEnv(CatchConfig().build(400), seed=0)
    agent = replace(SMALL, learning_starts=400, exploration_steps=800).build(envs.spec, seed=0)
    step, carry, epsilons = envs.reset(), agent.initial(400), []
    for t in islice(interact(envs, agent, start=(step, carry)), 4):
        epsilons.append(agent.epsilon)
        greedy = agent.q_network(t.step.obs).argmax(1)
        assert torch.equal(agent.act(t.step, t.carry, explore=False).action, greedy)
        random_fraction = float((t.action != greedy).float().mean()) * 3 / 2  # of 3 actions
        assert random_fraction == pytest.approx(agent.epsilon, abs=0.12)
        agent.learn(t)
    assert epsilons == pytest.approx([1.0, 1.0, 0.55, 0.1])


def test_a_bonus_counts_as_reward_within_the_total_clip() -> None:
    envs = BatchedEnv(ScriptedEnv(1))
    config = DQNConfig(network=MLPConfig(hidden=(4,)), buffer_size=100, total_clip=1.5, gamma=1.0)
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 3):  # rewards 1, 2, 4, clipped to 1
        agent.learn(t.with_bonus(torch.tensor([0.25 * float(t.next_step.reward)])))
    batch = agent.replay.gather(torch.arange(3))
    assert batch.reward.tolist() == [1.25, 1.5, 1.5]
    assert batch.returns.tolist() == [4.25, 3.0, 1.5]


def test_a_convolutional_agent_resumes_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    """A checkpoint keeps no memory layout, and optimizer states are restored in their weights'."""
    config = DQNConfig(buffer_size=400, learning_starts=10, exploration_steps=100, batch_size=4)
    envs = BatchedEnv(ScriptedEnv(2, shape=(4, 36, 36), layout=Layout("CHW")))
    agent = trained(config, envs, 20)
    resumed = config.build(envs.spec, seed=5)
    Checkpoints(tmp_path).save(1, agent.state_dict())
    resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
    for t in islice(interact(envs, agent), 12):
        assert torch.equal(resumed.act(t.step, t.carry).action, t.action)
        agent.learn(t)
        resumed.learn(t)
    for a, b in zip(agent.q_network.parameters(), resumed.q_network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "setting",
    [
        {"n_step": 0},
        {"batch_size": 0},
        {"learning_starts": -1},
        {"monte_carlo_weight": 1.5},
        {"end_epsilon": -0.1},
        {"replay_ratio": 0.0},
        {"learning_rate": math.nan},
    ],
)
def test_invalid_settings_are_refused_by_name(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(setting))}"):
        DQNConfig(**setting)


def test_linear_schedule_by_hand() -> None:
    values = {-5: 1.0, 0: 1.0, 25: 0.775, 50: 0.55, 100: 0.1, 1000: 0.1}
    for step, value in values.items():
        assert linear(step, begin=1.0, end=0.1, over=100) == pytest.approx(value)
    assert linear(100, begin=1.0, end=0.1, over=100) == 0.1, "exact at the end"


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_depend_on_their_seed_only_and_rows_are_independent(name: str) -> None:
    config, before = NETWORKS[name](), torch.get_rng_state()
    networks = []
    for seed in (0, 0, 1):
        with prng.seeded(seed):
            networks.append(config.build((4, 84, 84)))
    assert torch.equal(before, torch.get_rng_state())
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (5, 4, 84, 84), dtype=torch.uint8, generator=generator)
    a, b, c = (network(obs) for network in networks)
    assert a.shape == (5, networks[0].features)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    changed = obs.clone()
    changed[0] = 255 - changed[0]
    again = networks[0](changed)
    assert torch.equal(a[1:], again[1:])
    assert not torch.equal(a[0], again[0])


def test_networks_have_the_published_sizes() -> None:
    def num_weights(module: nn.Module) -> int:
        return sum(x.numel() for x in module.parameters())

    nature = NatureConfig().build((4, 84, 84))
    assert num_weights(QNetwork(nature, 4, dueling=False)) == 1_686_180, "DQN with four actions"
    impala = ImpalaConfig().build((3, 72, 96))
    convolutions = [m for m in impala.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 15
    assert [m.in_features for m in impala.modules() if isinstance(m, nn.Linear)] == [32 * 9 * 12]


def test_frames_too_small_for_a_network_are_refused_with_a_network_that_fits() -> None:
    with pytest.raises(UsageError, match=r"agent.network:nature .* 10 x 5; .* agent.network:mlp"):
        NatureConfig().build((1, 10, 5))
    NatureConfig().build((1, 36, 36))
    for config in (ImpalaConfig(), MLPConfig()):
        obs = torch.zeros(2, 1, 10, 5, dtype=torch.uint8)
        assert config.build((1, 10, 5))(obs).shape[0] == 2


def test_a_dueling_head_adds_advantages_about_their_mean() -> None:
    network = QNetwork(MLPConfig(hidden=(3,)).build((1, 2, 2)), 3, dueling=True)
    nn.init.zeros_(network.head.weight)
    network.head.bias.data = torch.tensor([5.0, 1.0, 2.0, 6.0])
    values = network(torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
    assert values.tolist() == [[3.0, 4.0, 8.0]] * 2


def test_bfloat16_values_are_near_those_of_float32() -> None:
    networks = []
    for precision in (FLOAT32, Precision("bf16")):
        with prng.seeded(0):
            trunk = NatureConfig().build((4, 84, 84), precision)
            networks.append(QNetwork(trunk, 6, dueling=False))
    obs = torch.randint(256, (4, 4, 84, 84), dtype=torch.uint8)
    exact, low_precision = (network(obs) for network in networks)
    assert low_precision.dtype == torch.float32
    assert not torch.equal(low_precision, exact)
    assert torch.allclose(low_precision, exact, atol=0.01)
    bfloat16 = inference_copy(networks[1], Precision("bf16"))
    assert torch.allclose(bfloat16.network(obs), low_precision, atol=1e-3)
    networks[1].load_state_dict({k: x + 0.1 for k, x in networks[1].state_dict().items()})
    bfloat16.refresh()
    assert torch.allclose(bfloat16.network(obs), networks[1](obs), rtol=0.02)
    assert inference_copy(networks[0], FLOAT32).network is networks[0]


def test_a_shared_autocast_cache_changes_no_gradient() -> None:
    envs = BatchedEnv(CatchConfig().build(4), seed=0)
    agent = SMALL.build(envs.spec, seed=0, precision=Precision("bf16"))
    for t in islice(interact(envs, agent), 60):
        agent.learn(t)
    batch, gradients = agent.replay.sample(32), []
    for context in (nullcontext(), shared_autocast_cache(agent.device)):
        agent.optimizer.zero_grad()
        with context:
            loss, _ = agent.loss(batch)
        loss.mean().backward()
        gradients.append(
            [p.grad.clone() for p in agent.q_network.parameters() if p.grad is not None]
        )
    assert len(gradients[1]) == len([*agent.q_network.parameters()])
    assert all(x.any() for x in gradients[1])
    assert all(map(torch.equal, *gradients))


def test_a_batch_too_large_for_the_memory_is_refused_with_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = trained(SMALL, BatchedEnv(ScriptedEnv(4)), 40)
    loss = agent.loss

    def small_memory(batch: Any) -> Any:
        if len(batch.action) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss(batch)

    monkeypatch.setattr(agent, "_loss", small_memory)
    with pytest.raises(UsageError, match=r"agent.batch_size is 32, .* 8 would fit"):
        agent.update()
