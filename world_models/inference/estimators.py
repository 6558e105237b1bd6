"""Gradients of a bound whose codes were drawn: each a surrogate whose value is the bound.

Backward through a surrogate gives an unbiased estimate of the gradient of the bound's expectation,
for the parameters of model and posterior alike. Any alpha of ``bounds.bound`` goes with each.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.inference.bounds import ELBO, bound

Estimator = Literal["pathwise", "nvil", "vimco"]


def pathwise(log_weights: Float[Tensor, "S B"], *, alpha: float = ELBO) -> Float[Tensor, " B"]:
    """Through the draw itself: codes are a differentiable function of noise (Kingma & Welling)."""
    return bound(log_weights, alpha)


def nvil(
    log_weights: Float[Tensor, "S B"],
    log_posterior: Float[Tensor, "S B"],
    baseline: Float[Tensor, " B"],
    *,
    alpha: float = ELBO,
) -> Float[Tensor, " B"]:
    """Score function, less a baseline that reads x alone (Mnih & Gregor 2014, section 2.3).

    The baseline is taught by the same surrogate: by the negative of its halved squared error.
    """
    value = bound(log_weights, alpha)
    signal = value.detach() - baseline
    score = signal.detach() * log_posterior.sum(0)
    return value + _gradient_only(score - signal.square() / 2)


def vimco(
    log_weights: Float[Tensor, "S B"],
    log_posterior: Float[Tensor, "S B"],
    *,
    alpha: float = ELBO,
) -> Float[Tensor, " B"]:
    """Score function, each of S >= 2 codes judged against the others (Mnih & Rezende 2016, eq. 8).

    The baseline of a code is the bound with the geometric mean of the others' weights in its place.
    """
    samples = len(log_weights)
    if samples < 2:
        raise ValueError(f"VIMCO judges samples by one another; {samples} is too few, draw 2.")
    value, weights = bound(log_weights, alpha), log_weights.detach()
    others = (weights.sum(0) - weights) / (samples - 1)
    itself = torch.eye(samples, dtype=torch.bool, device=weights.device)[:, :, None]
    without = torch.where(itself, others, weights[:, None])  # [S, S, B]; column j lacks code j
    baseline = bound(without.flatten(1), alpha).view_as(weights)
    return value + _gradient_only(((value.detach() - baseline) * log_posterior).sum(0))


def surrogate(
    estimator: Estimator,
    log_weights: Float[Tensor, "S B"],
    log_posterior: Float[Tensor, "S B"],
    baseline: Float[Tensor, " B"],
    *,
    alpha: float = ELBO,
) -> Float[Tensor, " B"]:
    """The surrogate of the estimator of that name."""
    if estimator == "pathwise":
        return pathwise(log_weights, alpha=alpha)
    if estimator == "nvil":
        return nvil(log_weights, log_posterior, baseline, alpha=alpha)
    return vimco(log_weights, log_posterior, alpha=alpha)


class Baseline(nn.Module):
    """What NVIL expects of a bound, from features of x: a small net in units of bounds so far.

    The running mean and deviation are those of Mnih & Gregor 2014, section 2.4: centring and scale.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, hidden: int = 100, decay: float = 0.8) -> None:
        super().__init__()
        self.decay = decay
        self.net = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        standard: Tensor = self.net(features.detach())[:, 0]  # about one, whatever the bound's size
        return self.mean + self.deviation * standard

    @torch.no_grad()
    def note(self, value: Float[Tensor, " B"]) -> None:
        """Move the running mean and deviation towards those of a batch of bounds."""
        self.mean.lerp_(value.mean(), 1 - self.decay)
        distance = (value - self.mean).square().mean().sqrt().clamp(min=1)
        self.deviation.lerp_(distance, 1 - self.decay)


def _gradient_only(x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Zero, with the gradient of x."""
    return x - x.detach()
