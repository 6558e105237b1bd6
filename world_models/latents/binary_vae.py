"""VAE with binary codes, and autoregressive prior and posterior.

After Gregor et al. 2014, "Deep AutoRegressive Networks" (sections 2.1 and 2.2), with the networks
of the Gaussian VAE and no autoregression over pixels. Binary codes have no pathwise gradient.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from ...envs.checks import at_least, check
from ..likelihoods import Likelihood
from .interface import LatentConfig
from .networks import Autoencoder


@dataclass(frozen=True)
class BinaryVAEConfig(LatentConfig):
    """A variational autoencoder with a code of bits, each conditional on earlier ones."""

    score_codes = True
    usual_likelihood = "bernoulli"

    size: int = 64
    """Number of bits of the code; a key holds the probability of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "size")

    def example(self) -> "BinaryVAEConfig":
        return replace(self, size=4)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "BinaryVAE":
        return BinaryVAE(self.pixels(shape, levels), self.size)


class BinaryVAE(Autoencoder):
    """VAE with autoregressive bits z."""

    score_codes = BinaryVAEConfig.score_codes
    code_range = (0.0, 1.0)

    def __init__(self, pixels: Likelihood, size: int) -> None:
        super().__init__(pixels, size, outputs=size)
        self.dim = size
        self.prior_logits = nn.Parameter(torch.zeros(size))
        self.prior_weight = nn.Parameter(torch.zeros(size, size))
        self.posterior_weight = nn.Parameter(torch.zeros(size, size))

    def prior(self) -> Distribution:
        return AutoregressiveBernoulli(self.prior_logits, self.prior_weight)

    def posterior(self, x: Tensor) -> "AutoregressiveBernoulli":
        return AutoregressiveBernoulli(self.encode(x), self.posterior_weight)

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        return super().decode(2 * z - 1)  # as -1 and 1, so that both values affect the decoder

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        return self.posterior(x).greedy_probs()

    def nearest_code(self, mean: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
        return mean.round()


class AutoregressiveBernoulli(Distribution):
    """p(z_d = 1 | z_<d) = sigmoid(logits_d + sum over e < d of weight_de z_e) (DARN)."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Float[Tensor, "*B D"], weight: Float[Tensor, "D D"]) -> None:
        self.logits, self.weight = logits, weight.tril(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        with torch.autocast(value.device.type, enabled=False):  # a log-probability is a long sum
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
