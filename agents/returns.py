"""Rewards, returns and advantages as pure functions.

Tensors are batch-major [B, T]; ``value`` has T+1 columns, the last of which is the value of the
observation after the last action. Where ``valid`` is false the timestep is an automatic reset:
it has no reward, and returns are computed across it without crossing into the next episode.
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
    """Return the reward that learners use: the raw reward clipped, plus the bonus, clipped again.

    The clips are to [-clip, clip] and [-total_clip, total_clip]; rewards are learned in float32.
    """
    reward = reward.float()
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
    """Compute G_t = r_t + d_t ((1 - lambda) v_{t+1} + lambda G_{t+1}) backward from the last value.

    Sutton & Barto 2018, eq. 12.18 with general discounts. A time-out (discount 1 before a reset)
    bootstraps from the value of its last observation, never from the next episode.
    """
    # G_t is base + slope * G_{t+1}; on a reset it is the value of the last observation.
    base = torch.where(valid, reward + (1 - lambda_) * discount * value[:, 1:], value[:, :-1])
    slope = torch.where(valid, lambda_ * discount, 0.0)
    next_return = value[:, -1]
    returns = []
    for a, b in zip(reversed(base.unbind(1)), reversed(slope.unbind(1)), strict=True):
        next_return = torch.addcmul(a, b, next_return)
        returns.append(next_return)
    return torch.stack(returns[::-1], 1)


def generalized_advantages(
    reward: Float[Tensor, "B T"],
    discount: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    valid: Bool[Tensor, "B T"],
    lambda_: float,
) -> Float[Tensor, "B T"]:
    """Compute generalized advantage estimates, 0 on resets (Schulman et al. 2016, eq. 16).

    The discounted sum of TD errors r_t + d_t v_{t+1} - v_t equals the lambda-return minus the
    value.
    """
    return lambda_returns(reward, discount, value, valid, lambda_) - value[:, :-1]


def returns_to_go(
    reward: Float[Tensor, "B T"], discount: Float[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Compute the discounted sum of the remaining rewards, with no value after the last."""
    value = torch.zeros(reward.shape[0], reward.shape[1] + 1, device=reward.device)
    return lambda_returns(reward, discount, value, valid)


def explained_variance(
    residual: Float[Tensor, " n"], returns: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return 1 - Var[residual] / Var[returns] of values; nan for returns that do not vary."""
    if len(returns) < 2:
        return returns.new_tensor(torch.nan)
    variance = returns.var()
    return torch.where(variance > 0, 1 - residual.var() / variance, torch.nan)


def double_q_targets(
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
    online_q: Float[Tensor, "B A"],
    target_q: Float[Tensor, "B A"],
) -> Float[Tensor, " B"]:
    """Compute r + d Q'(s, argmax_a Q(s, a)), s the next state (van Hasselt et al. 2016, eq. 4)."""
    best = online_q.argmax(1, keepdim=True)
    return reward + discount * target_q.gather(1, best)[:, 0]
