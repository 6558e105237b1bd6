"""Bounds on the evidence log p(x), as functions of log-weights log p(x, z_s) - log q(z_s | x).

One function of alpha covers most of them: the variational Renyi bound (Li & Turner 2016).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.distributions import Distribution

ELBO, IWAE, VR_MAX = 1.0, 0.0, -math.inf
"""Alpha of the bounds of Kingma & Welling 2014, Burda et al. 2016, and Li & Turner 2016."""


class LatentVariableModel(ABC):
    """A joint distribution p(z) p(x | z) and an approximate posterior q(z | x).

    One event of a distribution is one code z or one frame x. A model whose codes are no single
    event overrides ``weigh``.
    """

    score_codes: ClassVar[bool] = False
    """Whether some codes have no pathwise gradient, so that nvil or vimco must estimate it."""

    @abstractmethod
    def prior(self) -> Distribution:
        """Return p(z)."""

    @abstractmethod
    def posterior(self, x: Tensor) -> Distribution:
        """Return q(z | x) for each x, with batch shape [B]."""

    @abstractmethod
    def likelihood(self, z: Tensor) -> Distribution:
        """Return p(x | z) for each z; z may have sample axes before its batch, as [S, B, D]."""

    def prepare(self, frames: UInt8[Tensor, "B *K H W"]) -> Tensor:
        """Convert frames of symbols to the values x of the likelihood: by default, to integers."""
        return frames.long()

    def initialize_from(self, x: Tensor) -> None:  # noqa: B027
        """Initialize from the values of a first batch; by default, change nothing."""

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> "Weights":
        """Sample codes from q(z | x) and return their log-probabilities.

        With ``pathwise``, gradients flow through the codes that have a pathwise gradient.
        """
        posterior, shape = self.posterior(x), torch.Size([samples])
        pathwise = pathwise and posterior.has_rsample
        scored = torch.is_grad_enabled() and not pathwise  # the gradient is that of fixed codes
        if hasattr(posterior, "rsample_and_log_prob") and not scored:  # cheaper than an inversion
            z, log_posterior = posterior.rsample_and_log_prob(shape)
        else:
            z = posterior.rsample(shape) if pathwise else posterior.sample(shape)
            log_posterior = posterior.log_prob(z)
        return Weights(
            log_likelihood=self.likelihood(z).log_prob(x),
            log_prior=self.prior().log_prob(z),
            log_posterior=log_posterior,
            codes=z,
            log_score=torch.zeros_like(log_posterior) if pathwise else log_posterior,
            divergence=self.divergence(posterior),
        )

    def divergence(self, posterior: Distribution) -> Float[Tensor, "1 B D"] | None:
        """Return KL(q(z_d | x) || p(z_d)) of each latent in nats; None without a closed form."""
        return None

    def sample(self, n: int) -> Tensor:
        """Sample ``n`` frames x ~ p(x | z) of codes z ~ p(z)."""
        frames: Tensor = self.likelihood(self.prior().sample(torch.Size([n]))).sample()
        return frames


@dataclass(frozen=True, slots=True)
class Weights:
    """Log-probabilities of S codes sampled from the posterior of each x, in nats."""

    log_likelihood: Float[Tensor, "S B"]
    log_prior: Float[Tensor, "S B"]
    log_posterior: Float[Tensor, "S B"]
    codes: Float[Tensor, "S B *D"]
    """The codes, or their means; a key is made of them."""
    log_score: Float[Tensor, "S B"]
    """log q of the codes without a pathwise gradient alone, for the estimators by score function:
    0 where all codes have one, and all of ``log_posterior`` where none has."""
    divergence: Float[Tensor, "R B D"] | None = None
    """KL of each latent's posterior from its prior in closed form, given the earlier codes of the
    draw; R is S, or 1 where it is the same for every draw. None without a closed form."""

    def log_weights(self, beta: float = 1.0) -> Float[Tensor, "S B"]:
        """Return the log-weights of the codes, with the KL term weighted by beta.

            log w_s = log p(x | z_s) + beta (log p(z_s) - log q(z_s | x))

        At beta 1 these are log p(x, z_s) - log q(z_s | x); other values make a beta-VAE (Higgins et
        al. 2017).
        """
        return self.log_likelihood + beta * (self.log_prior - self.log_posterior)


def bound(log_weights: Float[Tensor, "S B"], alpha: float = ELBO) -> Float[Tensor, " B"]:
    """Return the variational Renyi bound on log p(x) (Li & Turner 2016), in nats.

        L_alpha = log((1 / S) sum_s w_s^(1 - alpha)) / (1 - alpha)

    For alpha >= 0 it is a lower bound on the evidence in expectation; it decreases in alpha. Its
    limit at alpha 1 is the ELBO, (1 / S) sum_s log w_s. Alpha 0 is the importance-weighted bound,
    log((1 / S) sum_s w_s), which increases with S to the evidence (Burda et al. 2016); -inf is the
    best sample, max_s log w_s (VR-max), which is no bound at finite S.
    """
    if alpha == ELBO:
        return log_weights.mean(0)
    if math.isinf(alpha):
        return log_weights.max(0).values if alpha < 0 else log_weights.min(0).values
    power = 1 - alpha
    return ((power * log_weights).logsumexp(0) - math.log(len(log_weights))) / power


def analytic_elbo(
    log_likelihood: Float[Tensor, "S B"],
    divergence: Float[Tensor, "R B D"],
    *,
    beta: float = 1.0,
    free_bits: float = 0.0,
) -> Float[Tensor, " B"]:
    """Return the ELBO in nats from the KL divergence of each latent (Kingma & Welling, eq. 7).

        (1 / S) sum_s (log p(x | z_s) - beta sum_d KL(q(z_d | x) || p(z_d)))

    ``divergence`` is as in ``Weights``. ``free_bits`` is the KL of a latent, in nats, that is not
    penalized: a mean over the batch below it counts as ``free_bits`` (Kingma et al. 2016).
    """
    kl = divergence.mean(0)
    penalized = torch.where(kl.mean(0) > free_bits, kl, free_bits)
    return log_likelihood.mean(0) - beta * penalized.sum(1)
