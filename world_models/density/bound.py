"""Latent-variable model of symbols as a density, by a bound on its evidence log p(x).

The bound is estimated from samples. A frame is scored with noise seeded by the frame itself, so
its score is a function of frame and weights alone: the same noise before and after an update, in
every batch. Updates use other noise; otherwise the model would overfit to the noise of the score.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from ...envs.checks import at_least, check
from ...envs.digest import frame_digest
from ...envs.interface import Metrics
from ...envs.prng import fold_in, seeded
from ..inference.bounds import IWAE, LatentVariableModel, bound
from ..inference.estimators import pathwise, vimco
from ..precision import FLOAT32, Precision
from ..representation.networks import Decoder, Encoder, mean_and_log_std
from .frames import check_frames
from .neural import NeuralDensity, NeuralDensityConfig


@dataclass(frozen=True)
class BoundDensityConfig(NeuralDensityConfig):
    """Base of the configs of densities that are scored by a bound: which one."""

    kind: ClassVar[Literal["exact", "bound"]] = "bound"

    alpha: float = IWAE
    """The bound used as log-probability: 1 for the ELBO, 0 for the importance-weighted bound."""
    samples: int = 16
    """Codes sampled per frame: more give a tighter bound."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "samples")


@dataclass(frozen=True)
class BoundConfig(BoundDensityConfig):
    """A VAE with categorical pixels, and the importance-weighted bound on its evidence."""

    learning_rate: float = 3e-4
    """Of RMSProp."""
    latent: int = 16
    """Dimensions of the Gaussian code."""

    def example(self) -> "BoundConfig":
        return replace(self, samples=64, latent=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "latent")

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "BoundDensity":
        return BoundDensity(
            self,
            lambda: SymbolVAE(shape, levels, self.latent),
            shape,
            levels,
            seed=seed,
            device=device,
            precision=precision,
        )


class SymbolVAE(nn.Module, LatentVariableModel):
    """VAE with z ~ N(0, I) and an independent categorical distribution for each pixel of x | z."""

    def __init__(self, shape: tuple[int, int], levels: int, latent: int) -> None:
        super().__init__()
        self.levels = levels
        self.encoder = Encoder((1, *shape), 2 * latent)
        self.decoder = Decoder(latent, shape, levels)
        nn.init.zeros_(self.encoder.outputs.weight)  # the initial posterior is the prior
        nn.init.zeros_(self.encoder.outputs.bias)
        self.register_buffer("zero", torch.zeros(latent))
        self.zero: Tensor

    def prior(self) -> Distribution:
        return Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1)

    def posterior(self, x: Int64[Tensor, "B H W"]) -> Distribution:
        pixels = x[:, None].float() / max(self.levels - 1, 1)
        code = mean_and_log_std(self.encoder(pixels), initial_log_std=0.0)
        mean, log_std = code.chunk(2, 1)
        return Independent(Normal(mean, log_std.exp(), validate_args=False), 1)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        logits = self.decoder(z).movedim(-3, -1)
        return Independent(Categorical(logits=logits, validate_args=False), 2)


class BoundDensity(NeuralDensity):
    """Density whose log-probability is a lower bound, in nats.

    log p(x) is ``bounds.bound`` of ``samples`` codes, alpha as in the config. The probabilities of
    all frames sum to at most about one. Codes without a pathwise gradient are trained by VIMCO,
    which raises ValueError for fewer than 2 samples.
    """

    STATE = (*NeuralDensity.STATE, "seed", "num_sample_calls")

    config: BoundDensityConfig
    net: LatentVariableModel

    def __init__(
        self,
        config: BoundDensityConfig,
        make_net: Callable[[], nn.Module],
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__(
            config, make_net, shape, levels, seed=seed, device=device, precision=precision
        )
        self.seed = seed
        self.num_sample_calls = 0

    def update(self, x: UInt8[Tensor, "B H W"]) -> Metrics:
        check_frames(x, self.shape, self.levels)
        value = self._step(x.to(self.device))  # a bound, too, with the noise of the update
        return {"density/nats_per_pixel": -value.mean() / x[0].numel()}

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        with seeded(fold_in(self.seed, self.num_sample_calls), self.device):
            frames = self.net.sample(n)
        self.num_sample_calls += 1
        return frames.to(torch.uint8)

    @torch.no_grad()
    def _score(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Return the bound of each frame, with noise seeded by the frame."""
        bounds = []
        for frame in x[:, None]:
            noise = fold_in(self.seed, int(frame_digest(frame[:, None])))
            with seeded(noise, self.device), self.precision.autocast(self.device):
                weights = self.net.weigh(frame.long(), self.config.samples)
            bounds.append(bound(weights.log_weights().double(), self.config.alpha))
        return torch.cat(bounds)

    def _learn(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        before = self._score(x)
        self._step(x)
        return before

    def _step(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        if self.num_updates == 0:
            self._initialize_from(x)
        # Noise that no score uses.
        with seeded(fold_in(self.seed, -1 - self.num_updates), self.device):
            return super()._step(x)

    def _objective(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        alpha = self.config.alpha
        with self.precision.autocast(self.device):
            weights = self.net.weigh(x.long(), self.config.samples, pathwise=True)
        if self.net.score_codes:
            return vimco(weights.log_weights(), weights.log_score, alpha=alpha)
        return pathwise(weights.log_weights(), alpha=alpha)
