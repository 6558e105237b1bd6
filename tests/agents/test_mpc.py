"""Tests of model-predictive control: sampling, refitting and scoring of plans."""

import pytest
import torch

from reverie.agents.mpc import MPCConfig, imagined_return, refit, sample_plans
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec

from sample_agents import TINY
from sample_models import SMALL_SHAPE, CountingPredictor, imagination, start, starts


def test_plans_are_sampled_by_their_probabilities_and_refit_to_the_best() -> None:
    probs = torch.tensor([[[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]])
    plans = sample_plans(probs, 4000, prng.initial_rng(0, prng.Purpose.TRAIN, 1), purpose=3)
    frequencies = [float((plans[0, :, 0] == a).float().mean()) for a in range(3)]
    assert frequencies == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert (plans[0, :, 1] == 1).all()
    plans = torch.tensor([[[0, 1], [2, 1], [1, 0], [1, 2]]])
    returns = torch.tensor([[5.0, 4.0, 1.0, 0.0]])
    refitted = refit(probs, plans, returns, elite_ratio=0.5, smoothing=0.3)
    expected = [[0.45, 0.1, 0.45], [0.1, 0.8, 0.1]]
    torch.testing.assert_close(refitted[0], torch.tensor(expected))


def test_an_imagined_return_by_hand() -> None:
    """Rewards 2, 1, 1 with discount 0.5 a step and gamma 0.9."""
    predictor = CountingPredictor(termination=0.5)
    carry = start(predictor, starts(1))
    value = imagined_return(predictor, carry, torch.tensor([[2, 1, 1]]), gamma=0.9)
    assert float(value) == pytest.approx(2 + 0.45 * 1 + 0.45**2 * 1)


@pytest.mark.parametrize("iterations", [1, 3])
def test_it_finds_the_action_of_the_highest_reward(iterations: int) -> None:
    config = MPCConfig(TINY, samples=32, horizon=4, iterations=iterations)
    agent = config.build(EnvSpec(6, 3, SMALL_SHAPE), seed=0)
    agent.simulator.predictor = CountingPredictor()
    step = BatchedEnv(imagination(6), seed=0).reset()
    assert agent.plan(step, agent.initial(6)).tolist() == [2] * 6


def test_invalid_settings_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"agent\.samples is 0"):
        MPCConfig(samples=0)
