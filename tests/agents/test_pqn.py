"""PQN beyond the laws of agents: its returns, its loss, its exploration and its LayerNorm."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reverie.agents.bonuses.bonus import NoBonusConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.loop import interact
from reverie.agents.networks import NETWORKS, MLPConfig, NatureConfig, insert_layer_norm_
from reverie.agents.output_networks import QNetwork, inference_copy
from reverie.agents.pqn import PQN, PQNConfig
from reverie.agents.rollout import select
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec, Segment, Transition
from reverie.world_models.precision import FLOAT32, Precision

from sample_envs import ScriptedEnv

SMALL = PQNConfig(
    network=MLPConfig(hidden=(16,)), num_steps=8, num_minibatches=2, exploration_steps=96
)


def collect(agent: PQN, timesteps: int) -> list[Transition]:
    return list(islice(interact(BatchedEnv(ScriptedEnv(4)), agent), timesteps))


def segment_of(agent: PQN, transitions: list[Transition]) -> Segment:
    for t in transitions:
        agent.rollout.append(t)
    return agent.rollout.pop()


def small_agent(**settings: Any) -> PQN:
    config = replace(SMALL, **settings)
    return config.build(BatchedEnv(ScriptedEnv(4)).spec, seed=0)


@pytest.mark.parametrize(
    ("q_lambda", "expected"),
    [
        # First env, from its end: the reset has the value 8 of the last observation, from which the
        # time-out bootstraps, 3 + .5 * 8; then 1.5 + .25 (4 + 7); a reset, 9; the death, 2;
        # 1 + .25 (2 + 2). Second env: 1 + .5 * 10; 1 + .25 (8 + 6); 8 + .25 (4 + 4.5);
        # 4 + .25 (6 + 10.125); the lost life, 2; 1 + .25 (2 + 2).
        (0.5, [[2, 2, 9, 4.25, 7, 8], [2, 2, 8.03125, 10.125, 4.5, 6]]),
        # Half the next value: 1 + .5 * 2, the death, 1.5 + .5 * 4, 3 + .5 * 8; 4 + .5 * 6, ...
        (0.0, [[2, 2, 9, 3.5, 7, 8], [2, 2, 7, 10, 5, 6]]),
        # Half the next return: 1.5 + .5 * 7; 1 + .5 * 6, 8 + .5 * 4, 4 + .5 * 10.
        (1.0, [[2, 2, 9, 5, 7, 8], [2, 2, 9, 10, 4, 6]]),
    ],
)
def test_returns_of_q_lambda_by_hand(q_lambda: float, expected: list[list[float]]) -> None:
    """With a death, a lost life, a time-out and the resets after two of them."""
    agent = small_agent(gamma=0.5, q_lambda=q_lambda, reward_clip=None)
    false = [False] * 7
    ends = [False, False, True, False, False, True, False]
    segment = Segment(
        action=torch.zeros(2, 6, dtype=torch.int64),
        obs=torch.zeros(2, 7, 1, 2, 2, dtype=torch.uint8),
        reward=torch.tensor([[1.0, 2, 0, 1, 3, 0], [1, 2, 4, 8, 1, 1]]),
        bonus=torch.tensor([[0.0, 0, 99, 0.5, 0, 99], [0] * 6]),
        discount=torch.tensor([[1.0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1]]),
        first=torch.zeros(2, 7, dtype=torch.bool),
        last=torch.tensor([ends, false]),
        extras={"value": torch.tensor([[4.0, 2, 9, 6, 4, 8], [4, 2, 8, 6, 4, 8]])},
    )
    returns = agent.estimate_returns(segment, torch.tensor([10.0, 10.0]))
    assert returns.tolist() == expected


def test_the_loss_is_half_the_mean_square_without_resets() -> None:
    agent = small_agent()
    batch = agent.batch_of(segment_of(agent, collect(agent, 8)), torch.zeros(4))
    assert len(batch) == 32
    assert int(batch.valid.sum()) == 24
    loss, metrics = agent.td_loss(batch)
    q_values = agent.q_network(batch.obs).detach()
    rows = [i for i in range(32) if batch.valid[i]]
    taken = [float(q_values[i, batch.action[i]]) for i in rows]
    squares = [(q - float(batch.returns[i])) ** 2 for q, i in zip(taken, rows, strict=True)]
    assert float(loss.detach()) == pytest.approx(sum(squares) / 24 / 2, rel=1e-5)
    assert float(metrics["losses/td_loss"]) == float(loss.detach())
    assert float(metrics["losses/q_values"]) == pytest.approx(sum(taken) / 24, rel=1e-5)
    resets = select(batch, (~batch.valid).nonzero()[:, 0])
    assert float(agent.td_loss(resets)[0].detach()) == 0


def test_the_values_of_acting_are_those_of_the_network_that_plays_the_rollout() -> None:
    """Maxima over actions, also where a random action was taken."""
    agent = small_agent()
    for t in collect(agent, 24):
        expected = agent.q_network(t.step.obs).max(1).values
        assert torch.allclose(t.extras["value"], expected)
        assert torch.allclose(agent.value(t.step, t.carry), expected)


def test_epsilon_decreases_from_rollout_to_rollout() -> None:
    agent = small_agent(end_epsilon=0.25)
    epsilons = []
    for t in islice(interact(BatchedEnv(ScriptedEnv(4)), agent), 40):
        epsilons.append(agent.epsilon)
        agent.learn(t)
    expected = [1, 0.75, 0.5, 0.25, 0.25]  # 32 of 96 steps in each rollout
    assert epsilons == pytest.approx([x for x in expected for _ in range(8)])


def test_actions_are_random_with_probability_epsilon() -> None:
    envs = BatchedEnv(CatchConfig().build(4000), seed=0)
    agent = SMALL.build(envs.spec, seed=0)
    step, carry = envs.reset(), agent.initial(4000)
    greedy = agent.act(step, carry, explore=False).action
    for steps, epsilon in ((0, 1.0), (48, 0.5), (96, 0.0)):
        agent.steps = steps
        differ = (agent.act(step, carry).action != greedy).float().mean()
        assert float(differ) == pytest.approx(epsilon * 2 / 3, abs=0.03)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_with_layer_norm_the_scale_of_no_layer_matters(name: str) -> None:
    """One follows every layer of the feature extractor, and normalizes its outputs."""
    with prng.seeded(0):
        trunk = NETWORKS[name]().build((2, 40, 40))
        layers = [x for x in trunk.modules() if isinstance(x, nn.Linear | nn.Conv2d)]
        insert_layer_norm_(trunk)
    norms = [x for x in trunk.modules() if isinstance(x, nn.LayerNorm)]
    assert len(norms) == len(layers)
    outputs: list[Tensor] = []
    for norm in norms:
        norm.register_forward_hook(lambda _, __, x: outputs.append(x))
    obs = torch.randint(256, (3, 2, 40, 40), dtype=torch.uint8)
    features = trunk(obs)
    for x in outputs:
        assert float(x.mean(1).abs().max()) < 1e-4
        assert float(x.var(1, unbiased=False).mean()) == pytest.approx(1, abs=0.02)
    for layer in layers:
        layer.weight.data *= 3
        assert layer.bias is not None
        layer.bias.data *= 3
    assert torch.allclose(trunk(obs), features, atol=0.02)


def test_layer_norm_can_be_left_out() -> None:
    assert any(isinstance(x, nn.LayerNorm) for x in small_agent().q_network.modules())
    without = small_agent(layer_norm=False).q_network
    assert not any(isinstance(x, nn.LayerNorm) for x in without.modules())


def test_a_copy_for_inference_keeps_layer_norm_in_float32() -> None:
    networks = []
    for precision in (FLOAT32, Precision("bf16")):
        with prng.seeded(0):
            trunk = NatureConfig(hidden=64).build((4, 84, 84), precision)
            insert_layer_norm_(trunk)
            networks.append(QNetwork(trunk, 6, dueling=False))
    obs = torch.randint(256, (4, 4, 84, 84), dtype=torch.uint8)
    exact, low_precision = (network(obs) for network in networks)
    assert not torch.equal(low_precision, exact)
    assert torch.allclose(low_precision, exact, atol=0.05)
    copy = inference_copy(networks[1], Precision("bf16")).network
    assert all(x.weight.dtype == torch.float32 for x in norms_of(copy))
    assert torch.allclose(copy(obs), low_precision, atol=1e-3)


def norms_of(network: nn.Module) -> list[nn.LayerNorm]:
    return [x for x in network.modules() if isinstance(x, nn.LayerNorm)]


@pytest.mark.long
@pytest.mark.parametrize(("bonus", "solved"), [(SimHashConfig(scale=1.0), True), (None, False)])
def test_with_a_bonus_it_solves_a_deep_sea(bonus: SimHashConfig | None, solved: bool) -> None:
    """More than half of 200 episodes in a row reach the reward that random play seldom finds."""
    envs = BatchedEnv(DeepSeaConfig(10).build(8), seed=0)
    agent = PQNConfig(
        network=MLPConfig((64, 64)), num_steps=11, num_minibatches=4, learning_rate=1e-3,
        end_epsilon=0.05, exploration_steps=5500,
    ).build(envs.spec, seed=0)  # fmt: skip
    counts = (bonus or NoBonusConfig()).build(envs.spec, seed=0)
    won: list[bool] = []
    for t in interact(envs, agent):
        agent.learn(t.with_bonus(counts(t)))
        won += (t.next_step.reward[t.next_step.last] > 0.5).tolist()
        if sum(won[-200:]) > 100 or len(won) >= 1200:
            break
    assert (sum(won[-200:]) > 100) == solved


@pytest.mark.parametrize(
    "settings",
    [
        {"num_steps": 0},
        {"q_lambda": 1.5},
        {"end_epsilon": -0.1},
        {"exploration_steps": 0},
        {"gamma": math.nan},
        {"max_grad_norm": 0.0},
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(settings))} is"):
        PQNConfig(**settings)


def test_a_rollout_too_large_for_memory_is_refused() -> None:
    spec = EnvSpec(4, 2, (1, 2, 2))
    with pytest.raises(UsageError, match=r"agent.num_steps is 1000000000000"):
        replace(SMALL, num_steps=10**12).build(spec)
