"""VAE with binary codes of binarized frames, and autoregressive prior and posterior.

After Gregor et al. 2014, "Deep AutoRegressive Networks" (sections 2.1 and 2.2), with the networks
of the Gaussian VAE and no autoregression over pixels. Binary codes have no pathwise gradient.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from ...envs.checks import at_least, check, refuse
from ...envs.prng import seeded
from ..inference.bounds import IWAE
from ..inference.estimators import Estimator
from ..precision import FLOAT32, Precision
from .networks import Decoder, Encoder
from .variational import VariationalConfig, VariationalModel, VariationalRepresentation


@dataclass(frozen=True)
class BinaryVAEConfig(VariationalConfig):
    """A binary VAE trained by VIMCO on the importance-weighted bound."""

    alpha: float = IWAE
    """The bound to maximize: 1 for the ELBO, 0 importance-weighted, -inf VR-max."""
    samples: int = 4
    """Codes sampled per frame; vimco needs 2 or more."""
    estimator: Estimator = "vimco"
    """Estimator of the bound's gradient; binary codes have no pathwise gradient."""
    latent: int = 64
    """Number of bits of the code; a key holds the probability of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(1), "latent")
        if self.estimator == "pathwise":
            refuse(self, "representation", "estimator", "nvil or vimco, as codes are binary")

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> VariationalRepresentation:
        with seeded(seed):
            model = BinaryVAE(obs_shape, self.latent)
        return VariationalRepresentation(
            self, model, obs_shape, seed=seed, device=device, precision=precision
        )


class BinaryVAE(VariationalModel):
    """VAE with autoregressive bits z and independent bits x | z."""

    bin_width = 1.0
    score_codes = True

    def __init__(self, obs_shape: tuple[int, int, int], latent: int) -> None:
        super().__init__()
        self.latent = self.dim = latent
        self.encoder = Encoder(obs_shape, latent)
        self.decoder = Decoder(latent, obs_shape[1:], obs_shape[0])
        self.prior_logits = nn.Parameter(torch.zeros(latent))
        self.prior_weight = nn.Parameter(torch.zeros(latent, latent))
        self.posterior_weight = nn.Parameter(torch.zeros(latent, latent))

    def prepare(self, frames: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Return 1 for each pixel above the mean of its frame, else 0."""
        pixels = frames.float()
        return (pixels > pixels.mean((2, 3), keepdim=True)).float()

    @torch.no_grad()
    def initialize_from(self, x: Float[Tensor, "B K H W"]) -> None:
        self.encoder.initialize_from(x)
        # Laplace smoothing: one more observation of each value.
        self.decoder.bias.copy_(((x.sum(0) + 1) / (len(x) + 2)).logit())

    def prior(self) -> Distribution:
        return AutoregressiveBernoulli(self.prior_logits, self.prior_weight)

    def posterior(self, x: Float[Tensor, "B K H W"]) -> Distribution:
        return AutoregressiveBernoulli(self.encoder(x).float(), self.posterior_weight)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        # Bits as -1 and 1, so that both values affect the decoder.
        logits = self.decoder(2 * z - 1)
        return Independent(Bernoulli(logits=logits, validate_args=False), 3)

    def key(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        posterior = AutoregressiveBernoulli(self.encoder(x).float(), self.posterior_weight)
        return posterior.greedy_probs()

    def features(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return self.encoder.forward_features(x)


class AutoregressiveBernoulli(Distribution):
    """p(z_d = 1 | z_<d) = sigmoid(logits_d + sum over e < d of weight_de z_e) (DARN)."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Float[Tensor, "*B D"], weight: Float[Tensor, "D D"]) -> None:
        self.logits, self.weight = logits, weight.tril(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        logits = self.logits + value @ self.weight.T
        bits = value.expand_as(logits)
        return -binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(-1)

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.rand(shape, device=self.logits.device)
        return self._ancestral(shape, noise)[0]

    def greedy_probs(self) -> Float[Tensor, "*B D"]:
        """Return the probability of each bit given the most probable value of each earlier bit."""
        return self._ancestral(self.logits.shape, torch.full_like(self.logits, 0.5))[1]

    def _ancestral(self, shape: torch.Size, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Set each bit, in order, if its noise is below its probability; return bits and probs."""
        logits = self.logits.expand(shape).clone()
        bits = torch.zeros(shape, device=logits.device)
        for d in range(shape[-1]):
            bits[..., d] = (noise[..., d] < logits[..., d].sigmoid()).to(bits.dtype)
            logits += bits[..., d, None] * self.weight[:, d]
        return bits, logits.sigmoid()
