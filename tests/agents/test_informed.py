"""Tests of informed exploration: visit frequencies, and the actions that it chooses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie import Experiment
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.informed import OWN_CARRY, Informed, InformedConfig, visit_frequency
from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import Carry, EnvSpec, TimeStep

from sample_agents import DQN, TINY
from sample_models import SMALL_SHAPE, CountingPredictor, imagination


@dataclass(frozen=True)
class OnPolicyConfig(AgentConfig):
    """An agent that learns on-policy."""

    on_policy = True


def make_ready(agent: Informed, num_envs: int) -> None:
    """Give the simulator enough updates, steps and experience to predict."""
    agent.simulator.schedule.count = agent.simulator.steps = 10_000
    transition = next(interact(BatchedEnv(imagination(num_envs)), RandomPolicy(3)))
    agent.simulator.replay.append(transition, torch.zeros(num_envs))


def test_a_visit_frequency_by_hand() -> None:
    """Kernel of two frames: an equal one, and one with three pixels further apart than delta."""
    frame = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    trajectory = torch.zeros(1, 3, 1, 2, 2, dtype=torch.uint8)
    trajectory[0, 1, 0] = torch.tensor([[9, 9], [9, 5]])  # squares 81, 81, 81, 25
    filled = torch.tensor([[False, True, True]])
    frequency = visit_frequency(frame, trajectory, filled, sigma=2.0, delta=50.0)
    assert float(frequency) == pytest.approx(1 + float(np.exp(-1.5)))


def test_it_chooses_the_action_of_the_least_visited_frame() -> None:
    """The action's pixel is 0, 1 or 2; the trajectory contains 0 and 1."""
    config = InformedConfig(
        TINY, inner=DQN, trajectory_length=3, delta=0.0, sigma=1.0, end_epsilon=1.0
    )
    agent = config.build(EnvSpec(2, 3, SMALL_SHAPE), seed=0)
    agent.simulator.predictor = CountingPredictor()
    step, rng = (
        BatchedEnv(imagination(2), seed=0).reset(),
        prng.initial_rng(0, prng.Purpose.TRAIN, 2),
    )
    trajectory = step.obs[:, None].repeat(1, 3, 1, 1, 1)
    trajectory[:, :, 0, 0, 0] += 1
    trajectory[:, 2, 0, 0, 1] = 1
    carry = {"rng": rng, "trajectory": trajectory, "trajectory_count": torch.full((2,), 3)}
    carry |= agent.simulator.initial(2)
    random_action = prng.randint(rng, 3, prng.Purpose.ACTION)
    assert torch.equal(agent.explore(step, carry), random_action), "the predictor is not ready"
    make_ready(agent, 2)
    assert agent.explore(step, carry).tolist() == [2, 2]


def test_it_predicts_only_for_the_envs_that_explore() -> None:
    """The actions are those of predicting for all envs; the others take the inner agent's."""
    config = InformedConfig(
        TINY, inner=DQN, trajectory_length=3, end_epsilon=0.3, exploration_steps=1
    )
    agent = config.build(EnvSpec(16, 3, SMALL_SHAPE), seed=0)
    agent.simulator.predictor = CountingPredictor()
    make_ready(agent, 16)
    step, carry = BatchedEnv(imagination(16), seed=0).reset(), agent.initial(16)
    batch_sizes: list[int] = []
    explore = agent.explore

    def counted(step: TimeStep, carry: Carry) -> Tensor:
        batch_sizes.append(len(step.obs))
        return explore(step, carry)

    agent.explore = counted  # type: ignore[method-assign]
    for _ in range(20):
        inner_carry = {name: x for name, x in carry.items() if name not in OWN_CARRY}
        inner_action = agent.inner.act(step, inner_carry, explore=False).action
        output = agent.act(step, carry)
        action, next_carry = output.action, output.carry
        exploring = prng.uniform(carry["rng"], 1, prng.Purpose.EXPLORE)[:, 0] < 0.3
        trajectory = {name: next_carry[name] for name in ("trajectory", "trajectory_count")}
        novel = explore(step, carry | trajectory)
        assert torch.equal(action, torch.where(exploring, novel, inner_action))
        assert batch_sizes.pop() == max(4, int(exploring.sum()))
        carry = next_carry
    assert not batch_sizes


def test_it_refuses_the_bonus_that_its_inner_agent_refuses() -> None:
    config = InformedConfig(inner=MFECConfig())
    assert config.no_bonus_reason == MFECConfig().no_bonus_reason
    with pytest.raises(UsageError, match="Informed takes no bonus"):
        Experiment(config, bonus=SimHashConfig())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InformedConfig(inner=OnPolicyConfig()), "agent.inner is OnPolicyConfig, which"),
        (lambda: InformedConfig(inner=InformedConfig()), "agent.inner is InformedConfig, which"),
    ],
)
def test_invalid_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
