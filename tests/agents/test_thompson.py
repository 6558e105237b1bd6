"""Thompson sampling beyond the laws of agents: heads, priors, bootstrap masks and the student."""

import math
from dataclasses import fields, replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reverie.agents.dqn import DQNConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig, NatureConfig
from reverie.agents.replay import Batch
from reverie.agents.seeds_together.together import check_together
from reverie.agents.thompson import QHeads, Thompson, ThompsonConfig
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec

from sample_agents import equal
from sample_envs import ScriptedEnv

SMALL = ThompsonConfig(
    network=MLPConfig(hidden=(16,)), num_heads=5, buffer_size=4000, learning_starts=10
)


def trained(config: ThompsonConfig, envs: BatchedEnv, timesteps: int, seed: int = 0) -> Thompson:
    agent = config.build(envs.spec, seed=seed)
    for t in islice(interact(envs, agent), timesteps):
        agent.learn(t)
    return agent


@pytest.mark.parametrize("settings", [{}, {"dueling": True, "double_q": False, "n_step": 2}])
def test_one_head_without_a_prior_is_dqn(settings: dict[str, Any]) -> None:
    """Actions are equal, and weights up to the rounding of batched products."""
    plain = DQNConfig(
        network=MLPConfig(hidden=(16,)), buffer_size=4000, learning_starts=10,
        exploration_steps=400, learning_rate=1e-3, **settings,
    )  # fmt: skip
    common = {field.name: getattr(plain, field.name) for field in fields(plain)}
    one_head = ThompsonConfig(**common, num_heads=1, prior_scale=0.0, mask_prob=1.0)
    agents = (
        plain.build(BatchedEnv(CatchConfig().build(8)).spec, seed=3),
        one_head.build(BatchedEnv(CatchConfig().build(8)).spec, seed=3),
    )
    runs = [interact(BatchedEnv(CatchConfig().build(8), seed=0), agent) for agent in agents]
    for a, b in islice(zip(*runs, strict=True), 60):
        assert torch.equal(a.action, b.action)
        metrics = [agent.learn(t) for agent, t in zip(agents, (a, b), strict=True)]
        assert metrics[0].keys() == metrics[1].keys()
    assert agents[0].schedule.count > 100
    expected = agents[0].q_network.state_dict()
    for name, x in agents[1].q_network.state_dict().items():
        if not name.startswith("prior."):
            torch.testing.assert_close(x[0], expected[name], rtol=1e-4, atol=1e-6)


class FixedReplay:
    """A buffer that always gives all its transitions, in order."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch.index)

    def sample(self, batch_size: int) -> Batch:
        return self.batch

    def gather(self, ranks: Tensor) -> Batch:
        return Batch(*(getattr(self.batch, field.name)[ranks] for field in fields(Batch)))


def regression(noise: float) -> tuple[Tensor, Tensor, Batch]:
    """Return pixels, rewards, and them as a batch of episodes of one step."""
    generator = torch.Generator().manual_seed(5)
    points = torch.randint(256, (4, 1, 1, 3), dtype=torch.uint8, generator=generator)
    obs = points[[0, 0, 1, 1, 1, 1, 2, 3, 3]]
    n, empty = len(obs), torch.zeros(9, 0, dtype=torch.uint8)
    features = obs.view(n, 3).float() / 255
    reward = features @ torch.tensor([0.5, -0.4, 0.3]) + 0.2
    reward += noise * torch.randn(n, generator=generator)
    zeros, false = torch.zeros(n), torch.zeros(n, dtype=torch.bool)
    action, index = torch.zeros(n, dtype=torch.int64), torch.arange(n)
    batch = Batch(obs, action, reward, zeros, obs, zeros, false, empty, empty, index)
    return points, reward, batch


def test_heads_and_student_have_the_exact_posterior_of_linear_regression() -> None:
    """Means and variances are within 5%, also of the heads between the data and beyond them.

    The noise of the rewards is known, weights have the prior of new linear layers, and the penalty
    is that of lemma 3 of Osband et al. 2018.
    """
    noise, scale = 0.3, 1.5
    points, reward, batch = regression(noise)
    n, prior_variance = len(reward), scale**2 / 3 / 3  # of uniform weights in +- 1 / sqrt(3)
    config = ThompsonConfig(
        network=MLPConfig(hidden=()), num_heads=8000, prior_scale=scale, noise_scale=noise,
        weight_decay=noise**2 / prior_variance / n, max_grad_norm=1e9, act_from="student",
        batch_size=32, buffer_size=100,
    )  # fmt: skip
    agent: Any = config.build(EnvSpec(1, 1, (1, 1, 3)), seed=1)
    agent.replay = FixedReplay(batch)
    for optimizer, rates in (
        (agent.optimizer, [0.1] * 80 + [0.01] * 80),
        (agent.student_optimizer, [0.1] * 200 + [0.05] * 400 + [0.005] * 100),
    ):
        for count, rate in enumerate(rates):
            optimizer.param_groups[0]["lr"] = rate
            if optimizer is agent.optimizer:
                agent.update()
            else:
                agent.distill(count)

    def exact(obs: Tensor) -> tuple[Tensor, Tensor]:
        phi, at = (
            torch.cat([x.flatten(1).double() / 255, torch.ones(len(x), 1)], 1)
            for x in (batch.obs, obs)
        )
        precision = phi.T @ phi / noise**2 + torch.eye(4) / prior_variance
        mean = torch.linalg.solve(precision, phi.T @ reward.double() / noise**2)
        return at @ mean, (at @ torch.linalg.inv(precision) * at).sum(1)

    others = torch.tensor([[0, 0, 0], [255, 0, 255], [90, 200, 30]], dtype=torch.uint8)
    obs = torch.cat([points, others.view(3, 1, 1, 3)])
    mean, variance = exact(obs)
    values = agent.q_network(obs).detach()[:, :, 0]
    for got_mean, got_variance in (
        (values.mean(0), values.var(0)),
        [x.detach()[:, 0] for x in agent.moments(points)],
    ):
        num = len(got_mean)
        assert (got_variance / variance[:num] - 1).abs().max() < 0.05
        assert ((got_mean - mean[:num]).abs() / variance[:num].sqrt()).max() < 0.05
    prior = (agent.q_network.prior_scale * agent.q_network.prior(obs))[:, :, 0]
    assert (variance < 0.7 * prior.var(0)).all(), "the posterior is not the prior"


def test_a_head_acts_throughout_an_episode_and_is_drawn_at_its_start() -> None:
    config = replace(SMALL, learning_starts=0)
    envs = BatchedEnv(ScriptedEnv(64))
    agent = config.build(envs.spec, seed=0)
    agent.steps = 2  # no random actions
    previous = None
    num_new, num_kept = 0, 0
    for t in islice(interact(envs, agent), 12):
        head = prng.randint(t.next_carry["episode_rng"], 5, prng.Purpose.HEAD)
        values = agent.q_network(t.step.obs)
        assert torch.equal(t.action, values[head, torch.arange(64)].argmax(1))
        if previous is not None:
            kept = head == previous
            assert kept[~t.step.first].all()
            num_kept += int(kept[t.step.first].sum())
            num_new += int(t.step.first.sum())
        previous = head
    assert num_new >= 128
    assert num_kept / num_new == pytest.approx(1 / 5, abs=0.1), "heads are drawn independently"


def test_every_head_is_drawn_equally_often_and_whatever_the_batch() -> None:
    envs = BatchedEnv(CatchConfig().build(4000), seed=0)
    agent = replace(SMALL, buffer_size=10**5).build(envs.spec, seed=0)
    agent.steps = 20
    step, carry = envs.reset(), agent.initial(4000)
    output = agent.act(step, carry)
    head = prng.randint(output.carry["episode_rng"], 5, prng.Purpose.HEAD)
    assert (head.bincount() / 4000 - 0.2).abs().max() < 0.03
    rows = torch.tensor([7, 3, 3999])
    part = agent.act(step.select(rows), {name: x[rows] for name, x in carry.items()})
    assert torch.equal(part.action, output.action[rows])
    assert torch.equal(part.carry["episode_rng"], output.carry["episode_rng"][rows])


def test_a_head_learns_from_the_transitions_of_its_mask_alone() -> None:
    """The mask depends on the transition and the head: not on the batch, nor on the update."""
    agent = trained(replace(SMALL, mask_prob=0.5, num_heads=30), BatchedEnv(ScriptedEnv(4)), 40)
    index, masks = [], []
    for rank in (0, 5, 17, 60, 5):
        batch = agent.replay.gather(torch.tensor([rank]))
        agent.optimizer.zero_grad()
        agent.loss(batch)[0].mean().backward()
        gradient = agent.q_network.head.bias.grad
        assert gradient is not None
        index.append(int(batch.index))
        masks.append(gradient.abs().sum(1) > 0)
    share = float(torch.stack(masks[:4]).float().mean())
    assert share == pytest.approx(0.5, abs=0.15)
    assert torch.equal(masks[1], masks[4])
    assert not torch.equal(masks[0], masks[1])
    uniform = prng.uniform(
        prng.keys(0, prng.Purpose.TRANSITION, torch.tensor(index)), 30, prng.Purpose.MASK
    )
    assert torch.equal(torch.stack(masks), uniform < 0.5)


def test_noise_of_targets_is_fixed_and_of_its_scale() -> None:
    config = replace(SMALL, num_heads=50, prior_scale=0.0, noise_scale=0.2)
    agent = trained(config, BatchedEnv(ScriptedEnv(4)), 40)
    batch = agent.replay.sample(64)
    noisy = agent.targets(batch)
    assert torch.equal(noisy, agent.targets(batch))
    agent.config = replace(config, noise_scale=0.0)
    noise = noisy - agent.targets(batch)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.1)
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)


def test_priors_differ_are_frozen_and_are_part_of_the_targets() -> None:
    envs = BatchedEnv(CatchConfig().build(4), seed=0)
    agent = SMALL.build(envs.spec, seed=0)
    before = [x.clone() for x in agent.q_network.prior.parameters()]
    for t in islice(interact(envs, agent), 60):
        agent.learn(t)
    assert agent.schedule.count > 20
    assert all(map(torch.equal, before, agent.q_network.prior.parameters()))
    weight = agent.q_network.prior.head.weight
    assert not torch.equal(weight[0], weight[1])
    agent.copy_target_if_due()
    agent.target_network.load_state_dict(agent.q_network.state_dict())
    obs = agent.replay.sample(8).obs
    assert torch.equal(agent.target_network(obs), agent.q_network(obs))
    agent.q_network.prior_scale = 0.0
    assert not torch.allclose(agent.target_network(obs), agent.q_network(obs), atol=1e-3)


def test_convolutions_are_shared_and_linear_layers_are_not() -> None:
    agent = replace(SMALL, network=NatureConfig(hidden=8)).build(EnvSpec(1, 3, (4, 36, 36)))
    assert isinstance(agent.q_network, QHeads)
    convolutions = [x for x in agent.q_network.trunk.modules() if isinstance(x, nn.Conv2d)]
    assert len(convolutions) == 3
    obs = torch.randint(256, (2, 4, 36, 36), dtype=torch.uint8)
    values = agent.q_network(obs)
    assert values.shape == (5, 2, 3)
    values[2].sum().backward()
    assert convolutions[0].weight.grad is not None
    gradient = agent.q_network.head.weight.grad
    assert gradient is not None
    assert gradient.flatten(1).any(1).tolist() == [False, False, True, False, False]


def test_the_student_changes_nothing_of_the_heads_and_learns_their_moments() -> None:
    config = replace(SMALL, learning_rate=5e-3)
    envs = BatchedEnv(CatchConfig(5, 3).build(8), seed=0)
    heads = config.build(envs.spec, seed=0)
    both = replace(config, act_from="student").build(envs.spec, seed=0)
    for t in islice(interact(envs, heads), 30):
        heads.learn(t)
        metrics = both.learn(t)
    assert equal(heads.q_network.state_dict(), both.q_network.state_dict())
    first = float(metrics["losses/student_kl"])
    divergences = [float(both.distill(count)) for count in range(1000, 1400)]
    assert min(divergences) > 0
    assert max(divergences[-10:]) < 0.1 * first
    obs = both.replay.sample(200).obs
    (mean, variance), (of_mean, of_variance) = both.moments(obs), heads.moments(obs)
    assert ((mean - of_mean).abs() / of_variance.sqrt()).mean() < 0.3
    assert (variance / of_variance).log().abs().mean() < 0.3


def test_the_student_acts_at_one_quantile_per_episode_and_greedily_by_the_mean() -> None:
    envs = BatchedEnv(CatchConfig().build(64), seed=0)
    agent = replace(SMALL, act_from="student").build(envs.spec, seed=0)
    agent.steps = 20
    for t in islice(interact(envs, agent), 15):
        mean, variance = agent.moments(t.step.obs)
        z = prng.normal(t.next_carry["episode_rng"], 1, prng.Purpose.HEAD)
        assert torch.equal(t.action, (mean + z * variance.sqrt()).argmax(1))
        greedy = agent.act(t.step, t.carry, explore=False).action
        assert torch.equal(greedy, mean.argmax(1))


def test_heads_act_greedily_by_their_mean() -> None:
    envs = BatchedEnv(CatchConfig().build(64), seed=0)
    agent = trained(SMALL, envs, 30)
    step = envs.reset()
    action = agent.act(step, agent.initial(64), explore=False).action
    assert torch.equal(action, agent.q_network(step.obs).mean(0).argmax(1))


@pytest.mark.long
def test_it_solves_a_deep_sea_that_dqn_does_not() -> None:
    """Of a hundred episodes, most find the treasure that a random policy finds once in 2^12."""
    won = {}
    for kind in (ThompsonConfig, DQNConfig):
        agent: Any = kind(
            network=MLPConfig((64, 64)), monte_carlo_weight=0.0, double_q=False, end_epsilon=0.0,
            exploration_steps=1, buffer_size=100_000, learning_starts=500, replay_ratio=0.125,
            learning_rate=1e-3, target_network_frequency=400,
        ).build(BatchedEnv(DeepSeaConfig(12).build(8)).spec, seed=0)  # fmt: skip
        episodes: list[bool] = []
        for t in interact(BatchedEnv(DeepSeaConfig(12).build(8), seed=0), agent):
            agent.learn(t)
            episodes += (t.next_step.reward[t.next_step.last] > 0.5).tolist()
            if sum(episodes[-100:]) > 50 or len(episodes) > 4000:
                break
        won[kind] = sum(episodes[-100:]) > 50
    assert won == {ThompsonConfig: True, DQNConfig: False}


def test_seeds_of_thompson_do_not_learn_together() -> None:
    agent = SMALL.build(EnvSpec(1, 3, (1, 4, 4)))
    with pytest.raises(UsageError, match="Several seeds of Thompson cannot learn together"):
        check_together(agent)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_heads": 0},
        {"prior_scale": -1.0},
        {"mask_prob": 1.5},
        {"noise_scale": math.nan},
        {"weight_decay": -0.1},
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(settings))}"):
        ThompsonConfig(**settings)
