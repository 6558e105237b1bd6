"""Gradient estimators for bounds over sampled codes, as surrogate objectives.

The value of a surrogate is the bound; its gradient is an unbiased estimate of the gradient of the
bound's expectation, for the parameters of both model and posterior. Every estimator supports every
alpha of ``bounds.bound``.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .bounds import ELBO, bound

Estimator = Literal["pathwise", "nvil", "vimco"]


def pathwise(log_weights: Float[Tensor, "S B"], *, alpha: float = ELBO) -> Float[Tensor, " B"]:
    """Return the surrogate of reparameterized codes z_s = g(x, noise_s) (Kingma & Welling 2014).

    It is the bound itself, whose gradient flows through the codes.
    """
    return bound(log_weights, alpha)


def nvil(
    log_weights: Float[Tensor, "S B"],
    log_score: Float[Tensor, "S B"],
    baseline: Float[Tensor, " B"],
    *,
    alpha: float = ELBO,
) -> Float[Tensor, " B"]:
    """Return the score-function surrogate with a learned baseline (Mnih & Gregor 2014).

        gradient = grad L + (L - b) sum_s grad log q(z_s | x)

    ``log_score`` is log q of the codes without a pathwise gradient (``Weights.log_score``); the
    gradient of the others flows through L, the bound. b = b(x) is the ``baseline``, which the
    surrogate also trains, by minus half its squared error, (L - b)^2 / 2 (section 2).
    """
    value = bound(log_weights, alpha)
    signal = value.detach() - baseline
    score = signal.detach() * log_score.sum(0)
    return value + _gradient_only(score - signal.square() / 2)


def vimco(
    log_weights: Float[Tensor, "S B"],
    log_score: Float[Tensor, "S B"],
    *,
    alpha: float = ELBO,
) -> Float[Tensor, " B"]:
    """Return the score-function surrogate with leave-one-out baselines (Mnih & Rezende 2016).

        gradient = grad L + sum_s (L - L_{-s}) grad log q(z_s | x)

    ``log_score`` is as in ``nvil``. L is the bound, and L_{-s} the bound in which the geometric
    mean of the other weights replaces the weight of code s. Raises ValueError for fewer than 2
    samples.
    """
    samples = len(log_weights)
    if samples < 2:
        raise ValueError(f"VIMCO needs 2 or more samples, got {samples}; raise samples.")
    value, weights = bound(log_weights, alpha), log_weights.detach()
    mean_of_others = (weights.sum(0) - weights) / (samples - 1)
    diagonal = torch.eye(samples, dtype=torch.bool, device=weights.device)[:, :, None]
    leave_one_out = torch.where(diagonal, mean_of_others, weights[:, None])  # [S, S, B]
    baseline = bound(leave_one_out.flatten(1), alpha).view_as(weights)
    return value + _gradient_only(((value.detach() - baseline) * log_score).sum(0))


def surrogate(
    estimator: Estimator,
    log_weights: Float[Tensor, "S B"],
    log_score: Float[Tensor, "S B"],
    baseline: Float[Tensor, " B"],
    *,
    alpha: float = ELBO,
) -> Float[Tensor, " B"]:
    """Return the surrogate of the estimator of this name.

    Raises ValueError for vimco with fewer than 2 samples.
    """
    if estimator == "pathwise":
        return pathwise(log_weights, alpha=alpha)
    if estimator == "nvil":
        return nvil(log_weights, log_score, baseline, alpha=alpha)
    return vimco(log_weights, log_score, alpha=alpha)


class Baseline(nn.Module):
    """NVIL's prediction of the bound from features of x, by a small network.

    The network's output is scaled by the running mean and standard deviation of past bounds (Mnih &
    Gregor 2014, section 2).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, hidden: int = 100, decay: float = 0.8) -> None:
        super().__init__()
        self.decay = decay
        self.net = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the predicted bound of each x; no gradient flows into the features."""
        normalized: Tensor = self.net(features.detach())[:, 0]
        return self.mean + self.std * normalized

    @torch.no_grad()
    def update_statistics(self, value: Float[Tensor, " B"]) -> None:
        """Update the running mean and standard deviation with a batch of bounds."""
        self.mean.lerp_(value.mean(), 1 - self.decay)
        std = (value - self.mean).square().mean().sqrt().clamp(min=1)
        self.std.lerp_(std, 1 - self.decay)


def _gradient_only(x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return zero with the gradient of x."""
    return x - x.detach()
