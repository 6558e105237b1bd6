"""Targets against tables computed by hand."""

import pytest
import torch

from agents.returns import lambda_returns, learning_reward, returns_to_go

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
