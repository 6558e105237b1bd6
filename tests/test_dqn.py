"""DQN beyond the laws of agents: its targets, its schedules and its networks."""

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
from worlds import Scripted

from agents.dqn import DoubleDQN, DQNConfig
from agents.loop import interact
from agents.networks import (
    NETWORKS,
    ImpalaConfig,
    MLPConfig,
    NatureConfig,
    QNetwork,
    Rounded,
    seeded,
)
from agents.returns import double_q_targets
from agents.schedules import linear
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.stream import Stream
from experiments.checkpoints import Checkpoints
from world_models.arithmetic import Arithmetic, rounding_once, using

SMALL = DQNConfig(
    network=MLPConfig(hidden=(16,)), capacity=4000, learning_starts=10, epsilon_steps=100
)


def learned(config: DQNConfig, stream: Stream, ticks: int) -> DoubleDQN:
    agent = config.build(stream.spec, seed=0)
    for t in islice(interact(stream, agent), ticks):
        agent.learn(t)
    return agent


def test_double_q_targets_by_hand() -> None:
    """The online network chooses, the target network values what was chosen."""
    targets = double_q_targets(
        reward=torch.tensor([1.0, 0.5, -1.0]),
        discount=torch.tensor([0.9, 0.0, 0.5]),
        online=torch.tensor([[1.0, 2.0], [5.0, 1.0], [0.0, -1.0]]),
        target=torch.tensor([[10.0, 3.0], [7.0, 7.0], [4.0, 100.0]]),
    )
    assert targets.tolist() == pytest.approx([1 + 0.9 * 3, 0.5, -1 + 0.5 * 4])


def test_the_loss_mixes_in_whole_returns_alone_and_is_linear_beyond_one() -> None:
    """Deaths and time-outs together, against the definition, one transition at a time."""
    config = DQNConfig(
        network=MLPConfig(hidden=(16,)),
        monte_carlo_weight=0.4,
        n_step=2,
        gamma=0.9,
        reward_clip=None,
        capacity=400,
        learning_starts=100,
        learning_rate=0.1,
        target_every=7,
    )
    agent = learned(config, Stream(Scripted(4, shape=(1, 4, 4))), 40)
    before = copy.deepcopy(agent)
    loss, mean_value = agent.update()
    batch = before.replay.sample(32)
    assert 0 < batch.complete.sum() < 32
    losses, values = [], []
    before.online.requires_grad_(False)
    for i in range(32):
        online, target = (
            net(batch.next_obs[i : i + 1])[0] for net in (before.online, before.target)
        )
        goal = float(batch.reward[i] + batch.discount[i] * target[online.argmax()])
        if batch.complete[i]:
            goal = 0.6 * goal + 0.4 * float(batch.returns[i])
        value = float(before.online(batch.obs[i : i + 1])[0, batch.action[i]])
        error = abs(value - goal)
        losses.append(0.5 * error**2 if error < 1 else error - 0.5)
        values.append(value)
    assert min(losses) < 0.5 < max(losses), "both pieces of the loss were met"
    assert float(loss) == pytest.approx(sum(losses) / 32, rel=1e-4)
    assert float(mean_value) == pytest.approx(sum(values) / 32, rel=1e-4)


@pytest.mark.parametrize("streams", [1, 3, 8])
@pytest.mark.parametrize("ratio", [0.25, 0.3, 2.0])
def test_updates_are_counted_exactly(streams: int, ratio: float) -> None:
    config = DQNConfig(
        network=MLPConfig(hidden=(4,)),
        capacity=400,
        learning_starts=10,
        replay_ratio=ratio,
        monte_carlo_weight=0.0,
    )
    stream = Stream(CatchConfig().build(streams), seed=0)
    agent = config.build(stream.spec, seed=0)
    for tick, t in enumerate(islice(interact(stream, agent), 30), start=1):
        agent.learn(t)
        assert agent.updates == max(0, math.floor((tick * streams - 10) * ratio))


def test_updates_missed_before_the_first_episode_ended_are_made_up_at_twice_the_pace() -> None:
    stream = Stream(CatchConfig().build(8), seed=0)
    agent = SMALL.build(stream.spec, seed=0)
    counts = []
    for t in islice(interact(stream, agent), 30):
        agent.learn(t)
        counts.append(agent.updates)
    assert counts[:8] == [0] * 8
    assert counts[8:12] == [4, 8, 12, 16]
    assert counts[-1] == (30 * 8 - 10) // 4


def test_the_target_network_is_a_copy_from_its_last_due_update() -> None:
    stream = Stream(CatchConfig().build(8), seed=0)
    config = replace(SMALL, learning_starts=8, target_every=10)  # two updates a tick
    agent = config.build(stream.spec, seed=0)
    copies = 0
    for t in islice(interact(stream, agent), 60):
        agent.learn(t)
        same = torch.equal(agent.online.head.weight, agent.target.head.weight)
        assert same == (agent.updates % 10 == 0)
        copies += same and agent.updates > 0
    assert copies >= 5


def test_epsilon_falls_with_agent_steps_and_evaluation_is_greedy() -> None:
    stream = Stream(CatchConfig().build(400), seed=0)
    agent = replace(SMALL, learning_starts=400, epsilon_steps=800).build(stream.spec, seed=0)
    step, memory, seen = stream.reset(), agent.initial(400), []
    for t in islice(interact(stream, agent, start=(step, memory)), 4):
        seen.append(agent.epsilon)
        greedy = agent.online(t.step.obs).argmax(1)
        assert torch.equal(agent.act(t.step, t.memory, explore=False)[0], greedy)
        random_share = float((t.action != greedy).float().mean()) * 3 / 2  # of 3 actions
        assert random_share == pytest.approx(agent.epsilon, abs=0.12)
        agent.learn(t)
    assert seen == pytest.approx([1.0, 1.0, 0.55, 0.1])


def test_a_bonus_counts_as_reward_within_the_total_clip() -> None:
    stream = Stream(Scripted(1))
    config = DQNConfig(network=MLPConfig(hidden=(4,)), capacity=100, total_clip=1.5, gamma=1.0)
    agent = config.build(stream.spec, seed=0)
    for t in islice(interact(stream, agent), 3):  # rewards 1, 2, 4, clipped to 1
        agent.learn(t.with_bonus(torch.tensor([0.25 * float(t.next_step.reward)])))
    batch = agent.replay.take(torch.arange(3))
    assert batch.reward.tolist() == [1.25, 1.5, 1.5]
    assert batch.returns.tolist() == [4.25, 3.0, 1.5]


def test_a_convolutional_agent_resumes_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    """Optimizer states must fit their weights whatever layout a checkpoint gave them."""
    config = DQNConfig(capacity=400, learning_starts=10, epsilon_steps=100, batch=4)
    stream = Stream(Scripted(2, shape=(4, 36, 36)))
    agent = learned(config, stream, 20)
    resumed = config.build(stream.spec, seed=5)
    Checkpoints(tmp_path).save(1, agent.state_dict())
    resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
    for t in islice(interact(stream, agent), 12):
        assert torch.equal(resumed.act(t.step, t.memory)[0], t.action)
        agent.learn(t)
        resumed.learn(t)
    for a, b in zip(agent.online.parameters(), resumed.online.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_step": 0},
        {"batch": 0},
        {"learning_starts": -1},
        {"monte_carlo_weight": 1.5},
        {"epsilon": -0.1},
        {"replay_ratio": 0.0},
        {"learning_rate": math.nan},
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(wrong))}"):
        DQNConfig(**wrong)


def test_linear_schedule_by_hand() -> None:
    at = {-5: 1.0, 0: 1.0, 25: 0.775, 50: 0.55, 100: 0.1, 1000: 0.1}
    for step, value in at.items():
        assert linear(step, begin=1.0, end=0.1, over=100) == pytest.approx(value)
    assert linear(100, begin=1.0, end=0.1, over=100) == 0.1, "exact at the end"


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_drawn_from_their_seed_alone_and_rows_do_not_talk(name: str) -> None:
    config, before = NETWORKS[name](), torch.get_rng_state()
    networks = []
    for seed in (0, 0, 1):
        with seeded(seed):
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
    def weights(module: nn.Module) -> int:
        return sum(x.numel() for x in module.parameters())

    nature = NatureConfig().build((4, 84, 84))
    assert weights(QNetwork(nature, 4, dueling=False)) == 1_686_180, "as DQN with four actions"
    impala = ImpalaConfig().build((3, 72, 96))
    convolutions = [m for m in impala.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 15
    assert [m.in_features for m in impala.modules() if isinstance(m, nn.Linear)] == [32 * 9 * 12]


def test_a_world_too_small_for_a_network_is_refused_with_one_that_fits() -> None:
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
    for precision in ("fp32", "bf16"):
        with seeded(0), using(Arithmetic(precision)):
            networks.append(QNetwork(NatureConfig().build((4, 84, 84)), 6, dueling=False))
    obs = torch.randint(256, (4, 4, 84, 84), dtype=torch.uint8)
    exact, reduced = (network(obs) for network in networks)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact)
    assert torch.allclose(reduced, exact, atol=0.01)
    rounded = Rounded(networks[1])
    assert torch.allclose(rounded.network(obs), reduced, atol=1e-3)
    networks[1].load_state_dict({k: x + 0.1 for k, x in networks[1].state_dict().items()})
    rounded.refresh()
    assert torch.allclose(rounded.network(obs), networks[1](obs), rtol=0.02)
    assert Rounded(networks[0]).network is networks[0]


def test_weights_rounded_once_have_the_gradients_of_weights_rounded_at_every_look() -> None:
    stream = Stream(CatchConfig().build(4), seed=0)
    with using(Arithmetic("bf16")):
        agent = SMALL.build(stream.spec, seed=0)
    for t in islice(interact(stream, agent), 60):
        agent.learn(t)
    batch, found = agent.replay.sample(32), []
    for surroundings in (nullcontext(), rounding_once(agent.device)):
        agent.optimizer.zero_grad()
        with surroundings:
            loss, _ = agent.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append([p.grad.clone() for p in agent.online.parameters() if p.grad is not None])
    assert len(found[1]) == len([*agent.online.parameters()])
    assert all(x.any() for x in found[1])
    assert all(map(torch.equal, *found))


def test_a_batch_beyond_the_memory_is_refused_with_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = learned(SMALL, Stream(Scripted(4)), 40)
    whole = agent.loss

    def small_memory(batch: Any) -> Any:
        if len(batch.action) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(batch)

    monkeypatch.setattr(agent, "_loss", small_memory)
    with pytest.raises(UsageError, match=r"agent.batch is 32, .* 8 would fit"):
        agent.update()
