"""Rewards, returns and advantages as pure functions.

Tensors are batch-major. Column t of ``reward`` and ``discount``, [B, T], holds r_{t+1} and
gamma_{t+1}, which follow the action of column t; column t of ``value``, [B, T+1], holds v_t, and
its last one the value of the observation after the last action. Where ``valid`` is false the
timestep is an automatic reset: it has no reward, and returns are computed across it without
crossing into the next episode.
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

        clip(clip(r, -clip, clip) + bonus, -total_clip, total_clip)

    None omits a clip; the result is float32. The bonus is added after the first clip, so that it
    keeps its scale beside large game scores.
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
    """Return lambda-returns [B, T], computed backward from the last value.

        G_t = r_{t+1} + gamma_{t+1} ((1 - lambda) v_{t+1} + lambda G_{t+1}),  G_T = v_T

    Sutton & Barto 2018, eq. 12.18. On an automatic reset G_t = v_t: a time-out, whose discount is
    not 0, bootstraps from the value of its last observation, never from the next episode. Lambda 0
    gives one-step targets, lambda 1 the discounted sum of rewards.

    With v_t = max_a Q(s_t, a) they are the returns of Q(lambda) (Peng & Williams 1996), which do
    not end where the action taken was not the greedy one:

        G_t = r_{t+1} + gamma_{t+1} ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1})

    Example::

        import torch
        from reverie.agents.returns import lambda_returns

        reward, discount = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.9, 0.0]])
        value, valid = torch.zeros(1, 3), torch.tensor([[True, True]])
        lambda_returns(reward, discount, value, valid)  # [[0.9, 1.0]]
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
    """Return generalized advantage estimates [B, T], 0 on resets (Schulman et al. 2016, eq. 16).

        A_t = delta_t + gamma_{t+1} lambda A_{t+1},  A_T = 0
        delta_t = r_{t+1} + gamma_{t+1} v_{t+1} - v_t

    A_t equals G_t - v_t with the lambda-return G_t, and is computed so.
    """
    return lambda_returns(reward, discount, value, valid, lambda_) - value[:, :-1]


def continuing_advantages(
    bonus: Float[Tensor, "B T"],
    gamma: float,
    value: Float[Tensor, "B T+1"],
    valid: Bool[Tensor, "B T"],
    lambda_: float,
) -> Float[Tensor, "B T"]:
    """Return advantages [B, T] by bonuses whose return goes on where an episode ends.

    That is the non-episodic return of Burda et al. 2018 (section 2.3). A reset takes no time: it
    has discount 1, where the bonus is 0, and the value of an episode's last observation is that of
    the next one's first.
    """
    discount = torch.where(valid, gamma, 1.0)
    return generalized_advantages(bonus, discount, value, torch.ones_like(valid), lambda_)


def returns_to_go(
    reward: Float[Tensor, "B T"], discount: Float[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Return the discounted sums of the remaining rewards [B, T], with no value after the last.

        G_t = r_{t+1} + gamma_{t+1} G_{t+1},  G_T = 0

    On resets G_t = 0.
    """
    value = torch.zeros(reward.shape[0], reward.shape[1] + 1, device=reward.device)
    return lambda_returns(reward, discount, value, valid)


def n_step_returns(
    reward: Float[Tensor, "B T"],
    discount: Float[Tensor, "B T"],
    value: Float[Tensor, "B T+1"],
    valid: Bool[Tensor, "B T"],
    n: int,
) -> Float[Tensor, "B T"]:
    """Return the discounted sums of n rewards and the value after them [B, T].

        G_t = r_{t+1} + gamma_{t+1} r_{t+2} + ... + (gamma_{t+1} ... gamma_{t+n}) v_{t+n}

    Sutton & Barto 2018, eq. 7.1. Fewer rewards remain near the end, where v_T follows the last one,
    and before an automatic reset, on which G_t = v_t.
    """
    returns = value
    for _ in range(min(n, reward.shape[1])):  # the returns of one step more
        backup = torch.where(valid, reward + discount * returns[:, 1:], value[:, :-1])
        returns = torch.cat([backup, value[:, -1:]], 1)
    return returns[:, :-1]


def explained_variance(
    residual: Float[Tensor, " n"], returns: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return the share of the returns' variance that values explain.

        1 - Var[G - v] / Var[G]

    ``residual`` holds G - v. The result is nan for returns that do not vary, or fewer than two.
    """
    if len(returns) < 2:
        return returns.new_tensor(torch.nan)
    variance = returns.var()
    return torch.where(variance > 0, 1 - residual.var() / variance, torch.nan)


def q_targets(
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
    target_q: Float[Tensor, "*heads B A"],
) -> Float[Tensor, "*heads B"]:
    """Return the targets of Q-learning with a target network Q' (Mnih et al. 2015).

        y = r + gamma max_a Q'(s', a)

    gamma is ``discount``, 0 after a death. Each head of Q' has a target of its own.
    """
    return reward + discount * target_q.amax(-1)


def double_q_targets(
    reward: Float[Tensor, " B"],
    discount: Float[Tensor, " B"],
    online_q: Float[Tensor, "*heads B A"],
    target_q: Float[Tensor, "*heads B A"],
) -> Float[Tensor, "*heads B"]:
    """Return the targets of double Q-learning (van Hasselt et al. 2016, eq. 4).

        y = r + gamma Q'(s', argmax_a Q(s', a))

    At the next state s' the online network Q chooses the action, and the target network Q'
    evaluates it. gamma is ``discount``, 0 after a death.
    """
    best = online_q.argmax(-1, keepdim=True)
    return reward + discount * target_q.gather(-1, best)[..., 0]
