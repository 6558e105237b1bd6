"""Bounds on the evidence log p(x), as functions of log-weights log p(x, z_s) - log q(z_s | x).

One function of alpha holds most of them: the variational Renyi bound (Li & Turner 2016, eq. 8).
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from envs.errors import UsageError

ELBO, IWAE, VR_MAX = 1.0, 0.0, -math.inf
"""The alphas of three bounds: of Kingma & Welling 2014, Burda et al. 2016, Li & Turner 2016."""


@runtime_checkable
class LatentVariableModel(Protocol):
    """p(z) p(x | z), and q(z | x) to invert it with; one event is one code or one frame."""

    def prior(self) -> Distribution:
        """p(z)."""

    def posterior(self, x: Tensor) -> Distribution:
        """q(z | x) of each x, with batch shape [B]."""

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x | z) of each z, which may have axes before its batch, as [S, B, D]."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What S codes drawn from the posterior of each x are worth, in nats."""

    log_likelihood: Float[Tensor, "S B"]
    log_prior: Float[Tensor, "S B"]
    log_posterior: Float[Tensor, "S B"]

    def log(self, beta: float = 1.0) -> Float[Tensor, "S B"]:
        """log w; with beta, the codes' cost is weighed as in a beta-VAE (Higgins et al. 2017)."""
        return self.log_likelihood + beta * (self.log_prior - self.log_posterior)


def draw_weights(
    model: LatentVariableModel,
    x: Tensor,
    samples: int,
    *,
    pathwise: bool = False,
    posterior: Distribution | None = None,
) -> Weights:
    """Draw codes from q(z | x) and weigh them; ``pathwise`` lets gradients flow through the draw.

    Raises UsageError where that is asked of codes that have no such gradient.
    """
    posterior = model.posterior(x) if posterior is None else posterior
    if pathwise and not posterior.has_rsample:
        raise UsageError(
            f"Codes of a {type(posterior).__name__} have no pathwise gradient; "
            "choose the estimator nvil or vimco."
        )
    shape = torch.Size([samples])
    z = posterior.rsample(shape) if pathwise else posterior.sample(shape)
    return Weights(
        model.likelihood(z).log_prob(x), model.prior().log_prob(z), posterior.log_prob(z)
    )


def bound(log_weights: Float[Tensor, "S B"], alpha: float = ELBO) -> Float[Tensor, " B"]:
    """log of the (1 - alpha)-power mean of the weights: a lower bound in expectation if alpha >= 0.

    It falls as alpha rises. Alpha 1 is the ELBO, whatever S; 0 the importance-weighted bound, which
    rises with S to the evidence; -inf the best sample alone (VR-max), with finite S no bound.
    """
    if alpha == ELBO:
        return log_weights.mean(0)
    if math.isinf(alpha):
        return log_weights.max(0).values if alpha < 0 else log_weights.min(0).values
    power = 1 - alpha
    return ((power * log_weights).logsumexp(0) - math.log(len(log_weights))) / power


def analytic_elbo(
    log_likelihood: Float[Tensor, "S B"],
    divergence: Float[Tensor, "B D"],
    *,
    beta: float = 1.0,
    free_bits: float = 0.0,
) -> Float[Tensor, " B"]:
    """The ELBO where KL(q(z_d | x) || p(z_d)) is known for each latent d (Kingma & Welling, eq. 7).

    ``free_bits`` are the nats that a latent may spend unpunished: where its mean divergence over
    the batch is below that, it counts as that much (Kingma et al. 2016, eq. 15).
    """
    spent = torch.where(divergence.mean(0) > free_bits, divergence, free_bits)
    return log_likelihood.mean(0) - beta * spent.sum(1)
