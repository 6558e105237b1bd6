"""Variational autoencoder: a diagonal-Gaussian code of a frame (Kingma & Welling 2014).

Convolutions, latents and key are those of Blundell et al. 2016 (section 3.1); with beta above 1 it
is the beta-VAE of Higgins et al. 2017.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from envs.checks import above, at_least, check
from envs.dice import seeded
from world_models.representation.networks import Decoder, Encoder, means_and_log_deviations
from world_models.representation.variational import (
    VariationalConfig,
    VariationalModel,
    VariationalRepresentation,
)


@dataclass(frozen=True)
class VAEConfig(VariationalConfig):
    """The published network; Adam by default, as the published RMSProp takes 400,000 steps."""

    latent: int = 32
    """Length of the code; a key holds its means and log-deviations, so twice as many."""
    floor: float = 0.05
    """Least standard deviation of a pixel, pixels being in 0..1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(1), "latent")
        check(self, "representation", above(0), "floor")

    def build(
        self, *, obs_shape: tuple[int, int, int], seed: int = 0, device: torch.device | str = "cpu"
    ) -> VariationalRepresentation:
        with seeded(seed):
            model = GaussianVAE(obs_shape, self.latent, self.floor)
        return VariationalRepresentation(self, model, obs_shape, seed=seed, device=device)


class GaussianVAE(VariationalModel):
    """z ~ N(0, I); each pixel of x | z is Gaussian with a mean and a deviation of its own."""

    spacing = 1 / 255

    def __init__(self, obs_shape: tuple[int, int, int], latent: int, floor: float) -> None:
        super().__init__()
        self.latent, self.floor, self.dim = latent, floor, 2 * latent
        self.encoder = Encoder(obs_shape, 2 * latent)
        self.decoder = Decoder(latent, obs_shape[1:], 2 * obs_shape[0])

    def prepare(self, frames: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        return frames.float() / 255

    @torch.no_grad()
    def start_from(self, x: Float[Tensor, "B K H W"]) -> None:
        self.encoder.start_from(x)
        mean, spread = self.decoder.background.chunk(2)
        mean.copy_(x.mean(0))
        # A still pixel starts near the floor, which nothing but its own noise keeps it from.
        spread.copy_(x.std(0, correction=0).clamp(min=self.floor / 32).log())

    def prior(self) -> Distribution:
        zero = self.decoder.background.new_zeros(self.latent)
        return Independent(Normal(zero, zero + 1, validate_args=False), 1)

    def posterior(self, x: Float[Tensor, "B K H W"]) -> Distribution:
        mean, log_deviation = self.key(x).chunk(2, 1)
        return Independent(Normal(mean, log_deviation.exp(), validate_args=False), 1)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        mean, spread = self.decoder(z).chunk(2, -3)
        # Floored, but never without slope; and no frame so strange that it overflows.
        deviation = (self.floor**2 + (2 * spread.clamp(max=2)).exp()).sqrt()
        return Independent(Normal(mean, deviation, validate_args=False), 3)

    def divergence(self, posterior: Distribution) -> Float[Tensor, "B D"] | None:
        base: Distribution = posterior.base_dist  # type: ignore[attr-defined]
        zero = self.decoder.background.new_zeros(self.latent)
        return kl_divergence(base, Normal(zero, zero + 1, validate_args=False))

    def key(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return means_and_log_deviations(self.encoder(x))

    def features(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return self.encoder.look(x)
