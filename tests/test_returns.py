"""Targets against tables computed by hand."""

import pytest
import torch

from agents.returns import (
    generalized_advantages,
    lambda_returns,
    learning_reward,
    returns_to_go,
)

NO_RESETS = torch.ones(1, 4, dtype=torch.bool)


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
def test_lambda_returns_at_its_ends(lambda_: float, expected: list[float]) -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    value = torch.tensor([[10.0, 20.0, 30.0, 40.0, 50.0]])
    got = lambda_returns(reward, torch.full((1, 4), 0.5), value, NO_RESETS, lambda_)
    assert got[0].tolist() == expected


def test_lambda_returns_in_between() -> None:
    # One step from the end: 4 + .5 * 50 = 29. Before: 3 + .5 (.5 * 40 + .5 * 29) = 20.25.
    reward, value = torch.tensor([[3.0, 4.0]]), torch.tensor([[30.0, 40.0, 50.0]])
    got = lambda_returns(reward, torch.full((1, 2), 0.5), value, NO_RESETS[:, :2], 0.5)
    assert got[0].tolist() == [20.25, 29.0]


def test_a_time_out_takes_its_last_value_and_no_return_crosses_a_reset() -> None:
    # Ticks: 0 and 1 of an episode timed out at 2, the reset tick 2, then a new episode.
    reward = torch.tensor([[1.0, 1.0, 0.0, 100.0]])
    discount = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    value = torch.tensor([[0.0, 0.0, 7.0, 0.0, 0.0]])
    valid = torch.tensor([[True, True, False, True]])
    got = lambda_returns(reward, discount, value, valid)
    assert got[0].tolist() == [9.0, 8.0, 7.0, 100.0]


def test_death_and_lost_lives_cut_returns() -> None:
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    discount = torch.tensor([[1.0, 0.0, 0.5, 0.0]])  # a life lost after tick 1, death after 3
    assert returns_to_go(reward, discount, NO_RESETS)[0].tolist() == [3.0, 2.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("lambda_", "expected"),
    [
        # TD errors: 1 + .5 * 4 - 2 = 1, 0 + .5 * 8 - 4 = 0, 2 + .5 * 2 - 8 = -5.
        (0.0, [1.0, 0.0, -5.0]),
        # Each its TD error and .5 * .5 of the next advantage: -5, 0 - 1.25, 1 - .3125.
        (0.5, [0.6875, -1.25, -5.0]),
        # The whole discounted return 1.75, 1.5, 3 beyond the value: 1 + .5 (0 + .5 (2 + .5 * 2)).
        (1.0, [-0.25, -2.5, -5.0]),
    ],
)
def test_generalized_advantages_by_hand(lambda_: float, expected: list[float]) -> None:
    reward = torch.tensor([[1.0, 0.0, 2.0]])
    value = torch.tensor([[2.0, 4.0, 8.0, 2.0]])
    half = torch.full((1, 3), 0.5)
    got = generalized_advantages(reward, half, value, NO_RESETS[:, :3], lambda_)
    assert got[0].tolist() == pytest.approx(expected)


def test_advantages_end_with_a_death_a_lost_life_and_a_time_out_and_are_none_at_resets() -> None:
    reward = torch.ones(3, 4)
    discount = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.5, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 0.5]])
    value = torch.tensor([2.0, 4.0, 8.0, 2.0, 6.0]).repeat(3, 1)
    valid = torch.tensor([[True, True, False, True], [True] * 4, [True, True, False, True]])
    got = generalized_advantages(reward, discount, value, valid, 1.0)
    # A death after tick 1: 1 - 4 there, 1 + .5 * 1 - 2 before it; the reset tick; 1 + .5 * 6 - 2.
    assert got[0].tolist() == [-0.5, -3.0, 0.0, 2.0]
    # A lost life there: what follows is no return of the ticks before, and goes on.
    assert got[1].tolist() == [-0.5, -3.0, 1 + 0.5 * 4 - 8, 2.0]
    # A time-out after tick 1, bootstrapped from the last look's value 8: 1 + .5 * 8 - 4.
    assert got[2].tolist() == [1 + 0.5 * 5 - 2, 1.0, 0.0, 2.0]
