"""The losses of PPO and A2C, per timestep, as pure functions.

``logratio`` is log pi(a) - log pi_old(a), the change of the action's log-probability since it was
taken.
"""

from jaxtyping import Bool, Float, Int64
from torch import Tensor


def action_log_prob(
    log_pi: Float[Tensor, "*s A"], action: Int64[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """Return the log-probability of the actions taken, in nats."""
    return log_pi.gather(-1, action[..., None])[..., 0]


def entropy(log_pi: Float[Tensor, "*s A"]) -> Float[Tensor, "*s"]:
    """Return the entropy of distributions over actions, in nats."""
    return -(log_pi.exp() * log_pi).sum(-1)


def mean_weight(mask: Bool[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return weights with which a sum is the mean where ``mask`` is true, or 0 if it never is."""
    return mask / mask.sum().clamp(min=1)


def normalize_advantages(
    advantages: Float[Tensor, "*s"], weight: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """Scale to mean 0 and standard deviation 1 under weights that sum to 1."""
    centered = advantages - (weight * advantages).sum()
    return centered / ((weight * centered.square()).sum().sqrt() + 1e-8)


def ppo_policy_loss(
    logratio: Float[Tensor, "*s"], advantages: Float[Tensor, "*s"], clip_coef: float | None
) -> Float[Tensor, "*s"]:
    """Return PPO's clipped surrogate loss (Schulman et al. 2017, eq. 7).

    With ``clip_coef=None`` its gradient at logratio 0 is A2C's.
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
    """Return half the squared error of the value.

    With ``clip_coef`` the greater of two errors counts: that of the value, and that of the value
    clipped to within ``clip_coef`` of the old one (Huang et al. 2022).
    """
    error = (value - returns).square()
    if clip_coef is not None:
        clipped = old_value + (value - old_value).clamp(-clip_coef, clip_coef)
        error = error.maximum((clipped - returns).square())
    return error / 2
