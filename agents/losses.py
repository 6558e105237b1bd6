"""The losses of PPO and A2C, per timestep, as pure functions.

A minibatch is [B, T]; axes before these are those of several minibatches, each with means of its
own.

``logratio`` is log rho = log pi(a) - log pi_old(a), the change of the action's log-probability
since it was taken.
"""

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..envs.ranks import ALONE, Ranks


def action_log_prob(
    log_pi: Float[Tensor, "*s A"], action: Int64[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """Return the log-probability of the actions taken, in nats."""
    return log_pi.gather(-1, action[..., None])[..., 0]


def entropy(log_pi: Float[Tensor, "*s A"]) -> Float[Tensor, "*s"]:
    """Return H = -sum_a pi(a) log pi(a) of distributions over actions, in nats."""
    return -(log_pi.exp() * log_pi).sum(-1)


def mean_weight(mask: Bool[Tensor, "*s B T"], ranks: Ranks = ALONE) -> Float[Tensor, "*s B T"]:
    """Return weights with which a sum is the mean where ``mask`` is true, or 0 if it never is.

    It is the sum over all ``ranks``.
    """
    return mask / ranks.sum(mask.sum((-2, -1), keepdim=True)).clamp(min=1)


def normalize_advantages(
    advantages: Float[Tensor, "*s B T"],
    weight: Float[Tensor, "*s B T"],
    ranks: Ranks = ALONE,
) -> Float[Tensor, "*s B T"]:
    """Scale to mean 0 and standard deviation 1 under weights w that sum to 1 over all ``ranks``.

        (A - m) / (sqrt(sum w (A - m)^2) + 1e-8)

    m is the mean, sum w A.
    """
    centered = advantages - ranks.sum((weight * advantages).sum((-2, -1), keepdim=True))
    variance = ranks.sum((weight * centered.square()).sum((-2, -1), keepdim=True))
    return centered / (variance.sqrt() + 1e-8)


def ppo_policy_loss(
    logratio: Float[Tensor, "*s"], advantages: Float[Tensor, "*s"], clip_coef: float | None
) -> Float[Tensor, "*s"]:
    """Return PPO's clipped surrogate loss of each timestep (Schulman et al. 2017, eq. 7).

        -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A)

    epsilon is ``clip_coef``. Without a clip the loss is -rho A, whose gradient at rho = 1 is A2C's,
    -A grad log pi(a).
    """
    ratio = logratio.exp()
    surrogate = ratio * advantages
    if clip_coef is not None:
        surrogate = surrogate.minimum(ratio.clamp(1 - clip_coef, 1 + clip_coef) * advantages)
    return -surrogate


def ppo_value_loss(
    value: Float[Tensor, "*s"],
    old_value: Float[Tensor, "*s"],
    returns: Float[Tensor, "*s"],
    clip_coef: float | None,
) -> Float[Tensor, "*s"]:
    """Return half the squared error of each timestep's value v, with a clipped change if asked.

        max((v - G)^2, (v_old + clip(v - v_old, -epsilon, epsilon) - G)^2) / 2

    epsilon is ``clip_coef`` (Huang et al. 2022); without a clip the loss is (v - G)^2 / 2.
    """
    error = (value - returns).square()
    if clip_coef is not None:
        clipped = old_value + (value - old_value).clamp(-clip_coef, clip_coef)
        error = error.maximum((clipped - returns).square())
    return error / 2
