"""Tests of the heads for reward and discount, and of the weights of moving pixels."""

import math
from typing import get_args

import pytest
import torch

from reverie.world_models.prediction.heads import RewardDiscountHeads, RewardHead, TwoHot
from reverie.world_models.prediction.motion import motion_weights

HEADS: tuple[RewardHead, ...] = get_args(RewardHead)


def test_two_hot_is_inverted() -> None:
    """By two bins at most; rewards beyond the bins are clipped."""
    coding = TwoHot()
    large, small = torch.linspace(-20_000, 20_000, 40_001), torch.linspace(-2, 2, 4_001)
    reward = torch.cat([large, small])
    probs = coding.encode(reward)
    assert ((probs > 0).sum(1) <= 2).all()
    torch.testing.assert_close(probs.sum(1), torch.ones_like(reward))
    torch.testing.assert_close(coding.expected(probs), reward, rtol=1e-5, atol=1e-5)
    assert coding.encode(torch.tensor([-1e12, 1e12])).argmax(1).tolist() == [0, 254]


@pytest.mark.parametrize("kind", HEADS)
def test_before_training_a_head_predicts_no_reward(kind: RewardHead) -> None:
    heads = RewardDiscountHeads(5, kind)
    reward, discount = heads.predict(torch.randn(7, 5))
    assert (reward == 0).all()
    assert (discount == 0.5).all()
    assert set(heads.state_dict()) == {"output.weight", "output.bias"}, (
        "as in checkpoints of one kind of head"
    )
    zeros, ones = torch.zeros(3), torch.ones(3)
    of_reward = {"symlog": math.log(3) ** 2 / 2, "sign": math.log(3), "two-hot": math.log(255)}
    expected = torch.full((3,), of_reward[kind] + math.log(2))
    torch.testing.assert_close(heads.loss(torch.randn(3, 5), 2 * ones, zeros), expected)


@pytest.mark.parametrize("kind", HEADS)
def test_a_deterministic_reward_is_learned(kind: RewardHead) -> None:
    """A reward per feature, and an end with one of them; the head of signs learns the signs."""
    features, reward = torch.eye(5), torch.tensor([-3.0, 0.0, 0.5, 1.0, 200.0])
    discount = (reward != 1).float()
    heads = RewardDiscountHeads(5, kind)
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.1)
    for _ in range(300):
        loss = heads.loss(features, reward, discount).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted, predicted_discount = heads.predict(features)
    expected = reward.sign() if kind == "sign" else reward
    torch.testing.assert_close(predicted, expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(predicted_discount, discount, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", HEADS)
def test_gradients_are_finite_for_any_reward(kind: RewardHead) -> None:
    heads = RewardDiscountHeads(4, kind)
    features = torch.tensor([[1e4, -1e4, 0.0, 1.0]]).expand(5, 4).requires_grad_()
    torch.nn.init.normal_(heads.output.weight)
    reward = torch.tensor([-1e9, -1.0, 0.0, 1e-6, 1e9])
    loss = heads.loss(features, reward, torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0])).sum()
    gradients = torch.autograd.grad(loss, [features, heads.output.weight, heads.output.bias])
    assert loss.isfinite()
    assert all(x.isfinite().all() for x in gradients)


def test_pixels_that_change_weigh_more() -> None:
    """Where an object is and was, in both channels; the mean weight of each frame is 1."""
    frames = torch.zeros(2, 2, 2, 2, 4, dtype=torch.uint8)
    frames[0, 0, 0, 0, 0] = frames[0, 1, 0, 0, 1] = 200  # it moves in one channel
    weights = motion_weights(frames, 3.0)
    moved = torch.tensor([[4.0, 4.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    torch.testing.assert_close(weights[0], (moved / moved.mean()).expand(2, 2, 4))
    assert (weights[1] == 1).all()
    assert (motion_weights(frames, 0.0) == 1).all()
