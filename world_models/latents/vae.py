"""Variational autoencoder with a diagonal-Gaussian code (Kingma & Welling 2014).

Convolutions, latents and key are those of Blundell et al. 2016 (section 3.1).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from ...envs.checks import at_least, check
from ..likelihoods import Likelihood
from .interface import LatentConfig
from .networks import Autoencoder


@dataclass(frozen=True)
class VAEConfig(LatentConfig):
    """A variational autoencoder with a Gaussian code."""

    size: int = 32
    """Length of the code; a key is its mean and log standard deviation, so twice as long."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "size")

    def example(self) -> "VAEConfig":
        return replace(self, size=4)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "GaussianVAE":
        return GaussianVAE(self.pixels(shape, levels), self.size)


class GaussianVAE(Autoencoder):
    """VAE with z ~ N(0, I)."""

    def __init__(self, pixels: Likelihood, size: int) -> None:
        super().__init__(pixels, size, outputs=2 * size)
        self.dim = 2 * size

    @torch.no_grad()
    def start_at_prior(self) -> None:
        super().start_at_prior()
        self.encoder.outputs.bias[self.size :] = 8 * math.atanh(1 / 8)  # log std 0

    def prior(self) -> Distribution:
        return Independent(self._standard_normal(), 1)

    def posterior(self, x: Tensor) -> Distribution:
        mean, log_std = self.key(x).chunk(2, 1)
        return Independent(Normal(mean, log_std.exp(), validate_args=False), 1)

    def divergence(self, posterior: Distribution) -> Float[Tensor, "1 B D"] | None:
        base: Distribution = posterior.base_dist  # type: ignore[attr-defined]
        return kl_divergence(base, self._standard_normal())[None]

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the mean and log standard deviation of each code.

        The log standard deviation stays within 8 of -1, near which an untrained code is informative
        from the first update.
        """
        mean, log_std = self.encode(x).chunk(2, 1)
        return torch.cat([mean, 8 * (log_std / 8).tanh() - 1], 1)

    def _standard_normal(self) -> Normal:
        zero = self.decoder.bias.new_zeros(self.size)
        return Normal(zero, zero + 1, validate_args=False)
