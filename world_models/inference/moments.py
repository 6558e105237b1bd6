"""Moments of the true posterior p(z | x), by importance sampling from the approximate one."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of a function of the code under p(z | x), for each of B frames."""

    mean: Float[Tensor, " B *F"]
    variance: Float[Tensor, " B *F"]
    effective_samples: Float[Tensor, " B"]
    """How many codes of p(z | x) itself are about as informative (Kong 1992): S of S codes if the
    approximate posterior is exact, and near 1 if a single code has most of the weight."""


def posterior_moments(
    values: Float[Tensor, "S B *F"], log_weights: Float[Tensor, "S B"]
) -> Moments:
    """Estimate the mean and the variance of a function f of the code under p(z | x).

        mean = sum_s w_s f(z_s),  variance = sum_s w_s (f(z_s) - mean)^2,  ESS = 1 / sum_s w_s^2

    ``values`` are f(z_s), such as ``Weights.codes`` themselves, and w are the weights normalized to
    sum 1. With few effective samples both moments are biased to those of the posterior q(z | x).
    """
    normalized = log_weights.softmax(0)
    weights = normalized.view(*normalized.shape, *[1] * (values.ndim - normalized.ndim))
    mean = (weights * values).sum(0)
    variance = (weights * (values - mean).square()).sum(0)
    return Moments(mean, variance, 1 / normalized.square().sum(0))
