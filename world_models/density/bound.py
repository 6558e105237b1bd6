"""Latent-variable model of symbols as a density, by a bound on its evidence log p(x).

The bound is estimated from samples. A frame is scored with noise seeded by the frame itself, so
its score is a function of frame and weights alone: the same noise before and after an update, in
every batch. Updates use other noise; otherwise the model would overfit to the noise of the score.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from ...envs.checks import above, at_least, check
from ...envs.digest import frame_digest
from ...envs.prng import fold_in, seeded
from ..inference.bounds import IWAE, LatentVariableModel, bound, draw_weights
from ..inference.estimators import pathwise, vimco
from ..interface import DensityConfig
from ..precision import FLOAT32, Precision
from ..representation.networks import Decoder, Encoder, mean_and_log_std
from ..state import HasState
from .frames import check_frames, check_state


@dataclass(frozen=True)
class BoundConfig(DensityConfig):
    """A VAE with categorical pixels, and the importance-weighted bound on its evidence."""

    update_per_frame: bool = True
    """One update per frame; else one per batch: faster, with other gains."""
    alpha: float = IWAE
    """The bound used as log-probability: 1 for the ELBO, 0 for the importance-weighted bound."""
    samples: int = 16
    """Codes sampled per frame: more give a tighter bound."""
    latent: int = 16
    """Dimensions of the Gaussian code."""
    learning_rate: float = 3e-4
    """Of RMSProp."""

    def __post_init__(self) -> None:
        check(self, "density", at_least(1), "samples", "latent")
        check(self, "density", above(0), "learning_rate")

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "BoundDensity":
        with seeded(seed):
            model = SymbolVAE(shape, levels, self.latent)
        return BoundDensity(
            self, model, shape, levels, seed=seed, device=device, precision=precision
        )


class SymbolVAE(nn.Module):
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


class BoundDensity(HasState):
    """Density whose log-probability is a lower bound, in nats.

    log p(x) is ``bounds.bound`` of ``samples`` codes, alpha as in the config. The probabilities of
    all frames sum to at most about one. Codes without a pathwise gradient are trained by VIMCO,
    which raises ValueError for fewer than 2 samples. Raises UsageError for frames or states of
    another shape or number of levels.
    """

    STATE = (
        "shape", "levels", "model", "optimizer", "seed", "num_updates", "num_sample_calls"
    )  # fmt: skip

    def __init__(
        self,
        config: BoundConfig,
        model: LatentVariableModel,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        assert isinstance(model, nn.Module)
        self.config, self.shape, self.levels, self.seed = config, shape, levels, seed
        self.device, self.model = torch.device(device), model.to(device)
        self.precision = precision.for_small_kernels(self.device)
        # As in PixelCNN, updates are per frame: without momentum one seldom overshoots.
        self.optimizer = torch.optim.RMSprop(
            model.parameters(), lr=config.learning_rate, alpha=0.95, eps=1e-4, foreach=True
        )
        self.num_updates = 0
        self.num_sample_calls = 0

    @torch.no_grad()
    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        return torch.cat([self._score(frame) for frame in self._frames(x)])

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        frames = self._frames(x)
        batch_size = 1 if self.config.update_per_frame else len(frames)
        before, after = [], []
        for start in range(0, len(frames), batch_size):
            batch = frames[start : start + batch_size]
            before += [self._score(frame) for frame in batch]
            self._update(batch)
            after += [self._score(frame) for frame in batch]
        return torch.cat(before), torch.cat(after)

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        with seeded(fold_in(self.seed, self.num_sample_calls), self.device):
            codes = self.model.prior().sample(torch.Size([n]))
            frames: Tensor = self.model.likelihood(codes).sample()
        self.num_sample_calls += 1
        return frames.to(torch.uint8)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        super().load_state_dict(state | {"shape": self.shape})

    def _frames(self, x: UInt8[Tensor, "B H W"]) -> list[Int64[Tensor, "1 H W"]]:
        return list(x.to(self.device, torch.int64)[:, None])

    @torch.no_grad()
    def _score(self, x: Int64[Tensor, "1 H W"]) -> Float[Tensor, " 1"]:
        """Return the bound of a frame, with noise seeded by the frame."""
        digest = int(frame_digest(x.to(torch.uint8)[:, None]))
        reduced = self.precision.autocast(self.device)
        with seeded(fold_in(self.seed, digest), self.device), reduced:
            weights = draw_weights(self.model, x, self.config.samples)
        # In float64, because a prediction gain is a small difference of large sums.
        return bound(weights.log_weights().double(), self.config.alpha)

    @torch.enable_grad()
    def _update(self, batch: list[Int64[Tensor, "1 H W"]]) -> None:
        """Take one gradient step, with noise that no score uses."""
        x, alpha = torch.cat(batch), self.config.alpha
        self.num_updates += 1
        reduced = self.precision.autocast(self.device)
        with seeded(fold_in(self.seed, -self.num_updates), self.device), reduced:
            posterior = self.model.posterior(x)
            weights = draw_weights(
                self.model,
                x,
                self.config.samples,
                pathwise=posterior.has_rsample,
                posterior=posterior,
            )
        if posterior.has_rsample:
            value = pathwise(weights.log_weights(), alpha=alpha)
        else:
            value = vimco(weights.log_weights(), weights.log_posterior, alpha=alpha)
        self.optimizer.zero_grad()
        (-value.sum() / x.numel()).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
