"""How good a latent-variable model is: its evidence, bits a dimension, and latents in use."""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from world_models.inference.bounds import IWAE, bound


def log_evidence(
    log_weights: Float[Tensor, "S B"],
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """log p(x) by importance sampling, and its standard error, in nats.

    The error is that of the mean weight relative to it (the delta method): it is itself estimated
    from the weights, so where few of them carry the sum it is too small.
    """
    samples = len(log_weights)
    estimate = bound(log_weights, IWAE)
    relative = (log_weights - estimate).exp()  # their mean is 1
    return estimate, relative.std(0) / math.sqrt(samples)


def bits_per_dimension(
    log_evidence: Float[Tensor, " B"], dimensions: int, spacing: float = 1.0
) -> Float[Tensor, " B"]:
    """Nats a frame as bits a pixel.

    ``spacing`` is the distance of two levels of a pixel in the units of a continuous likelihood,
    such as 1 / 255: a density times that is about the probability of a level. It is 1 where the
    likelihood is discrete.
    """
    return -(log_evidence / dimensions + math.log(spacing)) / math.log(2)


def active_units(
    posterior_means: Float[Tensor, "B D"], threshold: float = 0.01
) -> Bool[Tensor, " D"]:
    """Latents whose posterior mean varies with x by more than that (Burda et al. 2016, 5.1)."""
    return posterior_means.var(0) > threshold
