"""Latent-variable model of symbols as a density, by a bound on its evidence log p(x).

The bound is estimated from samples. A frame is scored with noise seeded by the frame itself, so
its score is a function of frame and weights alone: the same noise before and after an update, in
every batch. Updates use other noise; otherwise the model would overfit to the noise of the score.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.checks import at_least, check, refuse, within
from ...envs.digest import frame_digest
from ...envs.errors import UsageError
from ...envs.prng import fold_in, seeded
from ..inference.bounds import IWAE, LatentVariableModel, bound
from ..inference.estimators import pathwise, vimco
from ..latents.interface import LatentConfig, LatentModel
from ..latents.vae import VAEConfig
from ..likelihoods import LIKELIHOODS
from .neural import NeuralDensity, NeuralDensityConfig


@dataclass(frozen=True)
class BoundDensityConfig(NeuralDensityConfig):
    """Base of the configs of latent-variable models as densities: the bound on their evidence."""

    kind: ClassVar[Literal["exact", "bound"]] = "bound"
    """Its log-probability is estimated from ``samples`` codes."""

    alpha: float = IWAE
    """The bound used as log-probability: 1 for the ELBO, 0 for the importance-weighted bound."""
    samples: int = 16
    """Codes sampled per frame: more give a tighter bound."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "samples")
        check(self, "density", within(-math.inf, math.inf), "alpha")

    @property
    def density_class(self) -> type["BoundDensity"]:
        return BoundDensity


@dataclass(frozen=True)
class BoundConfig(BoundDensityConfig):
    """A latent-variable model, and the importance-weighted bound on its evidence."""

    learning_rate: float = 3e-4
    """Of RMSProp."""
    latent: LatentConfig = VAEConfig(size=16)
    """The latent-variable model: its networks, its code and its likelihood of pixels."""

    def example(self) -> "BoundConfig":
        return replace(self, samples=64, latent=self.latent.example())

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent.score_codes and self.samples < 2:
            refuse(self, "density", "samples", "2 or more, as codes of this latent need VIMCO")
        name = self.latent.likelihood
        if name != "auto" and LIKELIHOODS[name].continuous:
            allowed = "auto, categorical or logistic, or bernoulli of 2 levels, as it is of symbols"
            refuse(self.latent, "density.latent", "likelihood", allowed)

    def build_network(self, shape: tuple[int, int], levels: int) -> LatentModel:
        """Return a model of symbols whose posterior is the prior, so that its bound is tight."""
        latent = self.latent
        if latent.likelihood == "auto":
            latent = replace(latent, likelihood="categorical")
        if not latent.pixels(shape, levels).of_symbols:
            raise UsageError(
                f"density.latent.likelihood is {latent.likelihood}, which is of 2 levels, and the "
                f"frames have {levels}; choose categorical or logistic, or frames of 2 levels."
            )
        model = latent.build(shape, levels)
        model.start_at_prior()
        return model


class BoundDensity(NeuralDensity):
    """Density whose log-probability is a lower bound, in nats.

    log p(x) is ``bounds.bound`` of ``samples`` codes, alpha as in the config. The probabilities of
    all frames sum to at most about one. Codes without a pathwise gradient are trained by VIMCO,
    which raises ValueError for fewer than 2 samples.
    """

    STATE = (*NeuralDensity.STATE, "seed")

    config: BoundDensityConfig
    net: LatentVariableModel

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        noise = int(torch.randint(1 << 62, (), generator=self.generator))
        with seeded(noise, self.device):
            return self.net.sample(n).to(torch.uint8)

    def _initialize_from(self, x: UInt8[Tensor, "B H W"]) -> None:
        self.net.initialize_from(self.net.prepare(x))

    @torch.no_grad()
    def _score(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Return the bound of each frame, with noise seeded by the frame."""
        bounds = []
        for frame in x[:, None]:
            noise = fold_in(self.seed, int(frame_digest(frame[:, None])))
            with seeded(noise, self.device), self.precision.autocast(self.device):
                weights = self.net.weigh(self.net.prepare(frame), self.config.samples)
            bounds.append(bound(weights.log_weights().double(), self.config.alpha))
        return torch.cat(bounds)

    def _learn(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        before = self._score(x)
        self._step(x)
        return before

    def _step(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        with seeded(fold_in(self.seed, -1 - self.num_updates), self.device):
            return super()._step(x)  # with noise that no score uses

    def _objective(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        alpha = self.config.alpha
        with self.precision.autocast(self.device):
            weights = self.net.weigh(self.net.prepare(x), self.config.samples, pathwise=True)
        if self.net.score_codes:
            return vimco(weights.log_weights(), weights.log_score, alpha=alpha)
        return pathwise(weights.log_weights(), alpha=alpha)
