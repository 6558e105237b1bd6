"""Variational autoencoder with a diagonal-Gaussian code (Kingma & Welling 2014).

Convolutions, latents and key are those of Blundell et al. 2016 (section 3.1); with beta above 1 it
is the beta-VAE of Higgins et al. 2017.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from ...envs.checks import above, at_least, check
from ...envs.prng import seeded
from ..precision import FLOAT32, Precision
from .networks import Decoder, Encoder, mean_and_log_std
from .variational import VariationalConfig, VariationalModel, VariationalRepresentation


@dataclass(frozen=True)
class VAEConfig(VariationalConfig):
    """The published network, by default with Adam: the published RMSProp takes 400,000 updates."""

    latent: int = 32
    """Length of the code; a key is its mean and log standard deviation, so twice as long."""
    min_std: float = 0.05
    """Smallest standard deviation of a pixel, for pixels in 0..1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(1), "latent")
        check(self, "representation", above(0), "min_std")

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> VariationalRepresentation:
        with seeded(seed):
            model = GaussianVAE(obs_shape, self.latent, self.min_std)
        return VariationalRepresentation(
            self, model, obs_shape, seed=seed, device=device, precision=precision
        )


class GaussianVAE(VariationalModel):
    """VAE with z ~ N(0, I) and an independent Gaussian for each pixel of x | z."""

    bin_width = 1 / 255

    def __init__(self, obs_shape: tuple[int, int, int], latent: int, min_std: float) -> None:
        super().__init__()
        self.latent, self.min_std, self.dim = latent, min_std, 2 * latent
        self.encoder = Encoder(obs_shape, 2 * latent)
        self.decoder = Decoder(latent, obs_shape[1:], 2 * obs_shape[0])

    def prepare(self, frames: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        return frames.float() / 255

    @torch.no_grad()
    def initialize_from(self, x: Float[Tensor, "B K H W"]) -> None:
        self.encoder.initialize_from(x)
        mean, log_std = self.decoder.bias.chunk(2)
        mean.copy_(x.mean(0))
        # A constant pixel starts near the smallest standard deviation.
        log_std.copy_(x.std(0, correction=0).clamp(min=self.min_std / 32).log())

    def prior(self) -> Distribution:
        zero = self.decoder.bias.new_zeros(self.latent)
        return Independent(Normal(zero, zero + 1, validate_args=False), 1)

    def posterior(self, x: Float[Tensor, "B K H W"]) -> Distribution:
        mean, log_std = self.key(x).chunk(2, 1)
        return Independent(Normal(mean, log_std.exp(), validate_args=False), 1)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        mean, log_std = self.decoder(z).chunk(2, -3)
        # A soft minimum keeps the gradient, and the clamp prevents an overflow.
        std = (self.min_std**2 + (2 * log_std.clamp(max=2)).exp()).sqrt()
        return Independent(Normal(mean, std, validate_args=False), 3)

    def divergence(self, posterior: Distribution) -> Float[Tensor, "1 B D"] | None:
        base: Distribution = posterior.base_dist  # type: ignore[attr-defined]
        zero = self.decoder.bias.new_zeros(self.latent)
        return kl_divergence(base, Normal(zero, zero + 1, validate_args=False))[None]

    def key(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return mean_and_log_std(self.encoder(x))

    def features(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return self.encoder.forward_features(x)
