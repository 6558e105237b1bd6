"""Binary codes of binarised frames, with autoregressive prior and posterior.

After Gregor et al. 2014, "Deep AutoRegressive Networks" (sections 2.1 and 2.2), with the networks
of the Gaussian VAE and no autoregression among pixels. Such codes have no pathwise gradient.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from envs.checks import at_least, check, refuse
from envs.dice import seeded
from world_models.inference.bounds import IWAE
from world_models.inference.estimators import Estimator
from world_models.representation.networks import Decoder, Encoder
from world_models.representation.variational import (
    VariationalConfig,
    VariationalModel,
    VariationalRepresentation,
)


@dataclass(frozen=True)
class BinaryVAEConfig(VariationalConfig):
    """VIMCO on the importance-weighted bound, for which it was made."""

    alpha: float = IWAE
    samples: int = 4
    estimator: Estimator = "vimco"
    latent: int = 64
    """Bits of the code, and the length of a key: the probability of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(1), "latent")
        if self.estimator == "pathwise":
            refuse(self, "representation", "estimator", "nvil or vimco, as codes are binary")

    def build(
        self, *, obs_shape: tuple[int, int, int], seed: int = 0, device: torch.device | str = "cpu"
    ) -> VariationalRepresentation:
        with seeded(seed):
            model = BinaryVAE(obs_shape, self.latent)
        return VariationalRepresentation(self, model, obs_shape, seed=seed, device=device)


class BinaryVAE(VariationalModel):
    """z is a row of bits, each of which sees those before it; x | z has independent bits."""

    spacing = 1.0

    def __init__(self, obs_shape: tuple[int, int, int], latent: int) -> None:
        super().__init__()
        self.latent = self.dim = latent
        self.encoder = Encoder(obs_shape, latent)
        self.decoder = Decoder(latent, obs_shape[1:], obs_shape[0])
        self.prior_logits = nn.Parameter(torch.zeros(latent))
        self.prior_links = nn.Parameter(torch.zeros(latent, latent))
        self.posterior_links = nn.Parameter(torch.zeros(latent, latent))

    def prepare(self, frames: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """One where a pixel is brighter than the mean of its frame."""
        pixels = frames.float()
        return (pixels > pixels.mean((2, 3), keepdim=True)).float()

    @torch.no_grad()
    def start_from(self, x: Float[Tensor, "B K H W"]) -> None:
        self.encoder.start_from(x)
        # As if every pixel had also been seen once as a one and once as a zero.
        self.decoder.background.copy_(((x.sum(0) + 1) / (len(x) + 2)).logit())

    def prior(self) -> Distribution:
        return AutoregressiveBernoulli(self.prior_logits, self.prior_links)

    def posterior(self, x: Float[Tensor, "B K H W"]) -> Distribution:
        return AutoregressiveBernoulli(self.encoder(x).float(), self.posterior_links)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        # Bits as -1 and 1, so that both move what is decoded.
        logits = self.decoder(2 * z - 1)
        return Independent(Bernoulli(logits=logits, validate_args=False), 3)

    def divergence(self, posterior: Distribution) -> Float[Tensor, "B D"] | None:
        return None

    def key(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        posterior = AutoregressiveBernoulli(self.encoder(x).float(), self.posterior_links)
        return posterior.probabilities()

    def features(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return self.encoder.look(x)


class AutoregressiveBernoulli(Distribution):
    """p(z_d = 1 | z_<d) = sigmoid(logits_d + sum over e < d of links_de z_e) (DARN, eq. 2)."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Float[Tensor, "*B D"], links: Float[Tensor, "D D"]) -> None:
        self.logits, self.links = logits, links.tril(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        logits = self.logits + value @ self.links.T
        bits = value.expand_as(logits)
        return -binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(-1)

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.rand(shape, device=self.logits.device)
        return self._in_order(shape, noise)[0]

    def probabilities(self) -> Float[Tensor, "*B D"]:
        """The probability of each bit, given the likelier value of each before it."""
        return self._in_order(self.logits.shape, torch.full_like(self.logits, 0.5))[1]

    def _in_order(self, shape: torch.Size, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Bits that are one where their noise is below their probability, and the probabilities."""
        logits = self.logits.expand(shape).clone()
        bits = torch.zeros(shape, device=logits.device)
        for d in range(shape[-1]):
            bits[..., d] = (noise[..., d] < logits[..., d].sigmoid()).to(bits.dtype)
            logits += bits[..., d, None] * self.links[:, d]
        return bits, logits.sigmoid()
