"""Returns and advantages against values computed by hand."""

import pytest
import torch

from reverie.agents.returns import (
    continuing_advantages,
    explained_variance,
    generalized_advantages,
    lambda_returns,
    learning_reward,
    n_step_returns,
    returns_to_go,
)

NO_RESETS = torch.ones(1, 4, dtype=torch.bool)


def test_explained_variance_is_undefined_without_variation() -> None:
    returns = torch.tensor([1.0, 3.0, 5.0])
    assert float(explained_variance(returns / 2, returns)) == pytest.approx(0.75)
    assert float(explained_variance(torch.zeros(3), returns)) == 1
    for undefined in (torch.ones(3), torch.ones(1), torch.ones(0)):
        assert explained_variance(undefined, undefined).isnan()


def test_learning_reward_clips_before_and_after_the_bonus() -> None:
    reward, bonus = torch.tensor([10.0, -10.0, 0.5]), torch.tensor([0.5, 0.5, 3.0])
    assert learning_reward(reward, bonus).tolist() == [10.5, -9.5, 3.5]
    assert learning_reward(reward, bonus, clip=1.0).tolist() == [1.5, -0.5, 3.5]
    assert learning_reward(reward, bonus, clip=1.0, total_clip=1.0).tolist() == [1.0, -0.5, 1.0]


@pytest.mark.parametrize(
    ("lambda_", "expected"),
    [
        # From the end: 4 + .5 * 50; then 3 + .5 * 29; 2 + .5 * 17.5; 1 + .5 * 10.75.
        (1.0, [6.375, 10.75, 17.5, 29.0]),
        # Each from the next value alone: 1 + .5 * 20, 2 + .5 * 30, ...
        (0.0, [11.0, 17.0, 23.0, 29.0]),
    ],
)
def test_lambda_returns_at_lambda_0_and_1(lambda_: float, expected: list[float]) -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    value = torch.tensor([[10.0, 20.0, 30.0, 40.0, 50.0]])
    actual = lambda_returns(reward, torch.full((1, 4), 0.5), value, NO_RESETS, lambda_)
    assert actual[0].tolist() == expected


def test_lambda_returns_at_lambda_one_half() -> None:
    # One step from the end: 4 + .5 * 50 = 29. Before: 3 + .5 (.5 * 40 + .5 * 29) = 20.25.
    reward, value = torch.tensor([[3.0, 4.0]]), torch.tensor([[30.0, 40.0, 50.0]])
    actual = lambda_returns(reward, torch.full((1, 2), 0.5), value, NO_RESETS[:, :2], 0.5)
    assert actual[0].tolist() == [20.25, 29.0]


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [11.0, 17.0, 23.0, 29.0]),
        # 1 + .5 * 2 + .25 * 30; 2 + .5 * 3 + .25 * 40; then the value after the last reward.
        (2, [9.5, 13.5, 17.5, 29.0]),
        (3, [7.75, 10.75, 17.5, 29.0]),
        (100, [6.375, 10.75, 17.5, 29.0]),
    ],
)
def test_n_step_returns(n: int, expected: list[float]) -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    value = torch.tensor([[10.0, 20.0, 30.0, 40.0, 50.0]])
    actual = n_step_returns(reward, torch.full((1, 4), 0.5), value, NO_RESETS, n)
    assert actual[0].tolist() == expected


def test_n_step_returns_do_not_cross_resets() -> None:
    reward = torch.tensor([[1.0, 1.0, 5.0, 100.0]])
    discount = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    value = torch.tensor([[0.0, 0.0, 7.0, 0.0, 3.0]])
    valid = torch.tensor([[True, True, False, True]])
    assert n_step_returns(reward, discount, value, valid, 3)[0].tolist() == [9, 8, 7, 100]


def test_a_time_out_bootstraps_and_returns_do_not_cross_resets() -> None:
    # Timesteps 0 and 1 of an episode truncated at 2, the reset at 2, then a new episode.
    reward = torch.tensor([[1.0, 1.0, 0.0, 100.0]])
    discount = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    value = torch.tensor([[0.0, 0.0, 7.0, 0.0, 0.0]])
    valid = torch.tensor([[True, True, False, True]])
    actual = lambda_returns(reward, discount, value, valid)
    assert actual[0].tolist() == [9.0, 8.0, 7.0, 100.0]


def test_termination_and_lost_lives_end_returns() -> None:
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    discount = torch.tensor(
        [[1.0, 0.0, 0.5, 0.0]]
    )  # a life lost after timestep 1, termination after 3
    assert returns_to_go(reward, discount, NO_RESETS)[0].tolist() == [3.0, 2.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("lambda_", "expected"),
    [
        # TD errors: 1 + .5 * 4 - 2 = 1, 0 + .5 * 8 - 4 = 0, 2 + .5 * 2 - 8 = -5.
        (0.0, [1.0, 0.0, -5.0]),
        # TD error plus .5 * .5 of the next advantage: -5, 0 - 1.25, 1 - .3125.
        (0.5, [0.6875, -1.25, -5.0]),
        # The discounted return 1.75, 1.5, 3 minus the value: 1 + .5 (0 + .5 (2 + .5 * 2)).
        (1.0, [-0.25, -2.5, -5.0]),
    ],
)
def test_generalized_advantages_by_hand(lambda_: float, expected: list[float]) -> None:
    reward = torch.tensor([[1.0, 0.0, 2.0]])
    value = torch.tensor([[2.0, 4.0, 8.0, 2.0]])
    half = torch.full((1, 3), 0.5)
    actual = generalized_advantages(reward, half, value, NO_RESETS[:, :3], lambda_)
    assert actual[0].tolist() == pytest.approx(expected)


def test_advantages_end_at_termination_lost_life_and_time_out_and_are_0_at_resets() -> None:
    reward = torch.ones(3, 4)
    discount = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.5, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 0.5]])
    value = torch.tensor([2.0, 4.0, 8.0, 2.0, 6.0]).repeat(3, 1)
    valid = torch.tensor([[True, True, False, True], [True] * 4, [True, True, False, True]])
    actual = generalized_advantages(reward, discount, value, valid, 1.0)
    # Termination after timestep 1: 1 - 4, before it 1 + .5 * 1 - 2; the reset; 1 + .5 * 6 - 2.
    assert actual[0].tolist() == [-0.5, -3.0, 0.0, 2.0]
    # A lost life there: later rewards belong to later returns only.
    assert actual[1].tolist() == [-0.5, -3.0, 1 + 0.5 * 4 - 8, 2.0]
    # A time-out after timestep 1 bootstraps from the last observation's value 8: 1 + .5 * 8 - 4.
    assert actual[2].tolist() == [1 + 0.5 * 5 - 2, 1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("lambda_", "expected"),
    [
        # From the end: 8 + .5 * 16 - 4 = 12; the reset has the return 16 of the next timestep, and
        # the value 6; 2 + .5 * 16 - 2 = 8; 1 + .5 * 10 - 4 = 2.
        (1.0, [2.0, 8.0, 10.0, 12.0]),
        # 1 + .5 * 2 - 4, 2 + .5 * 6 - 2, the next value 4 - 6, 8 + .5 * 16 - 4.
        (0.0, [-2.0, 3.0, -2.0, 12.0]),
    ],
)
def test_advantages_by_bonuses_go_on_where_an_episode_ends(
    lambda_: float, expected: list[float]
) -> None:
    bonus = torch.tensor([[1.0, 2.0, 0.0, 8.0]])
    value = torch.tensor([[4.0, 2.0, 6.0, 4.0, 16.0]])
    valid = torch.tensor([[True, True, False, True]])
    assert continuing_advantages(bonus, 0.5, value, valid, lambda_)[0].tolist() == expected


def test_advantages_of_rewards_and_bonuses_sum_to_those_of_their_sum_within_an_episode() -> None:
    generator = torch.Generator().manual_seed(0)
    reward, bonus = torch.randn(2, 3, 4, generator=generator)
    values = torch.randn(2, 3, 5, generator=generator)
    valid, discount = torch.ones(3, 4, dtype=torch.bool), torch.full((3, 4), 0.9)
    apart = generalized_advantages(reward, discount, values[0], valid, 0.7)
    apart = apart + continuing_advantages(bonus, 0.9, values[1], valid, 0.7)
    together = generalized_advantages(reward + bonus, discount, values.sum(0), valid, 0.7)
    torch.testing.assert_close(apart, together)
