"""What an actor-critic lowers, tick by tick, as pure functions."""

from jaxtyping import Float, Int64
from torch import Tensor


def log_probabilities(
    log_pi: Float[Tensor, "*s A"], action: Int64[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """Of the actions taken, in nats."""
    return log_pi.gather(-1, action[..., None])[..., 0]


def entropy(log_pi: Float[Tensor, "*s A"]) -> Float[Tensor, "*s"]:
    """Of distributions over actions, in nats."""
    return -(log_pi.exp() * log_pi).sum(-1)


def normalised(x: Float[Tensor, "*s"], weight: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """To mean 0 and deviation 1 under weights that sum to 1."""
    centred = x - (weight * x).sum()
    return centred / ((weight * centred.square()).sum().sqrt() + 1e-8)


def policy_loss(
    change: Float[Tensor, "*s"], advantage: Float[Tensor, "*s"], clip: float | None
) -> Float[Tensor, "*s"]:
    """Of an action whose log-probability has changed since it was taken.

    Schulman et al. 2017, eq. 7; without a clip, its gradient at no change is A2C's.
    """
    ratio = change.exp()
    gain = ratio * advantage
    if clip is not None:
        gain = gain.minimum(ratio.clamp(1 - clip, 1 + clip) * advantage)
    return -gain


def value_loss(
    value: Float[Tensor, "*s"],
    before: Float[Tensor, "*s"],
    returns: Float[Tensor, "*s"],
    clip: float | None,
) -> Float[Tensor, "*s"]:
    """Half the squared error, or that of the value clipped about what it was, if greater."""
    error = (value - returns).square()
    if clip is not None:
        clipped = before + (value - before).clamp(-clip, clip)
        error = error.maximum((clipped - returns).square())
    return error / 2
