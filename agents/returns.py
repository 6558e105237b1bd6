"""Targets as pure functions: what a learner reads as reward, and what it sums to.

All are batch-major [B, T]; ``value`` has T+1 columns, the last one that of the observation after
the last action. Where ``valid`` is false the tick is an automatic reset: nothing happened in it,
and every return passes over it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def learning_reward(
    reward: Float[Tensor, "*s"],
    bonus: Float[Tensor, "*s"],
    *,
    clip: float | None = None,
    total_clip: float | None = None,
) -> Float[Tensor, "*s"]:
    """The only reward a learner reads: raw reward clipped to +-clip, plus bonus, clipped again."""
    if clip is not None:
        reward = reward.clamp(-clip, clip)
    total = reward + bonus
    return total if total_clip is None else total.clamp(-total_clip, total_clip)


def lambda_returns(
    reward: Float[Tensor, "B T"],
    discount: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    valid: Bool[Tensor, "B T"],
    lambda_: float = 1.0,
) -> Float[Tensor, "B T"]:
    """G_t = r_t + d_t ((1 - lambda) v_{t+1} + lambda G_{t+1}), from the last value backwards.

    Sutton & Barto 2018, eq. 12.18 with general discounts. A time-out (discount 1 into a reset
    tick) takes the value of its last observation, never a return of the next episode.
    """
    # Each step is a + b G_{t+1}; a reset tick hands on the value seen before it.
    base = torch.where(valid, reward + (1 - lambda_) * discount * value[:, 1:], value[:, :-1])
    slope = torch.where(valid, lambda_ * discount, 0.0)
    following = value[:, -1]
    returns = []
    for a, b in zip(reversed(base.unbind(1)), reversed(slope.unbind(1)), strict=True):
        following = torch.addcmul(a, b, following)
        returns.append(following)
    return torch.stack(returns[::-1], 1)


def generalized_advantages(
    reward: Float[Tensor, "B T"],
    discount: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    valid: Bool[Tensor, "B T"],
    lambda_: float,
) -> Float[Tensor, "B T"]:
    """The lambda-return's excess over the value, 0 on reset ticks.

    Schulman et al. 2016, eq. 16: the sum of TD errors r_t + d_t v_{t+1} - v_t, each weighed by the
    discounts and lambdas between.
    """
    return lambda_returns(reward, discount, value, valid, lambda_) - value[:, :-1]


def returns_to_go(
    reward: Float[Tensor, "B T"], discount: Float[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The discounted sum of the rewards still to come; nothing is known after the last of them."""
    value = torch.zeros(reward.shape[0], reward.shape[1] + 1, device=reward.device)
    return lambda_returns(reward, discount, value, valid)


def double_q_targets(
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
    online: Float[Tensor, "B A"],
    target: Float[Tensor, "B A"],
) -> Float[Tensor, " B"]:
    """r + d Q'(s, argmax_a Q(s, a)), s being the next state (van Hasselt et al. 2016, eq. 4)."""
    best = online.argmax(1, keepdim=True)
    return reward + discount * target.gather(1, best)[:, 0]
