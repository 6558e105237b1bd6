"""Metrics of latent-variable models: evidence log p(x), bits per dimension, and active units."""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from .bounds import IWAE, bound


def log_evidence(
    log_weights: Float[Tensor, "S B"],
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Estimate log p(x) by importance sampling; return it with its standard error, in nats.

        log p(x) = log((1 / S) sum_s w_s),  error = std(w) / (mean(w) sqrt(S))

    The error is the relative standard error of the mean weight (delta method). As it is estimated
    from the same weights, it is too small where few of them dominate the sum, and nan for S = 1.
    """
    samples = len(log_weights)
    estimate = bound(log_weights, IWAE)
    relative = (log_weights - estimate).exp()  # their mean is 1
    return estimate, relative.std(0) / math.sqrt(samples)


def bits_per_dimension(
    log_evidence: Float[Tensor, " B"], dimensions: int, bin_width: float = 1.0
) -> Float[Tensor, " B"]:
    """Convert the evidence in nats per frame to bits per pixel.

        -(log p(x) / dimensions + log(bin_width)) / log(2)

    ``bin_width`` is the difference of two levels of a pixel in the units of a continuous
    likelihood, such as 1 / 255: times it, a density is about the probability of a level. It is 1
    for a discrete likelihood.
    """
    return -(log_evidence / dimensions + math.log(bin_width)) / math.log(2)


def active_units(
    posterior_means: Float[Tensor, "B D"], threshold: float = 0.01
) -> Bool[Tensor, " D"]:
    """Return which latents' posterior means have a variance over x above the threshold.

    Burda et al. 2016, section 5.
    """
    return posterior_means.var(0) > threshold
