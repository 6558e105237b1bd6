"""Bound: any latent-variable model of symbols as a density, by a bound on its evidence.

A bound's estimate needs noise. Here a frame is judged by noise drawn from the frame itself: so its
bound is a function of frame and weights alone, with the same noise before and after a step, in any
batch. Each step is taken by noise of its own; else the model would learn the noise it is judged by.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from envs.checks import above, at_least, check
from envs.dice import fold, seeded
from envs.digest import frame_digest
from world_models.density.frames import check_frames, check_state
from world_models.inference.bounds import IWAE, LatentVariableModel, bound, draw_weights
from world_models.inference.estimators import pathwise, vimco
from world_models.interface import DensityConfig
from world_models.optimizers import load_optimizer
from world_models.representation.networks import Decoder, Encoder, means_and_log_deviations


@dataclass(frozen=True)
class BoundConfig(DensityConfig):
    """A VAE whose pixels are categorical, and the importance-weighted bound on its evidence."""

    one_by_one: bool = True
    """One step a frame; else one joint step a batch: faster, other gains."""
    alpha: float = IWAE
    """Which bound stands for the log-probability: 1 the ELBO, 0 the importance-weighted one."""
    samples: int = 16
    """Codes drawn for each frame: the more, the tighter the bound."""
    latent: int = 16
    learning_rate: float = 3e-4

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
    ) -> "BoundDensity":
        with seeded(seed):
            model = SymbolVAE(shape, levels, self.latent)
        return BoundDensity(self, model, shape, levels, seed=seed, device=device)


class SymbolVAE(nn.Module):
    """z ~ N(0, I); each pixel of x | z is a symbol, with a softmax of its own."""

    def __init__(self, shape: tuple[int, int], levels: int, latent: int) -> None:
        super().__init__()
        self.levels = levels
        self.encoder = Encoder((1, *shape), 2 * latent)
        self.decoder = Decoder(latent, shape, levels)
        nn.init.zeros_(self.encoder.outputs.weight)  # at birth the posterior is the prior
        nn.init.zeros_(self.encoder.outputs.bias)
        self.register_buffer("zero", torch.zeros(latent))
        self.zero: Tensor

    def prior(self) -> Distribution:
        return Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1)

    def posterior(self, x: Int64[Tensor, "B H W"]) -> Distribution:
        pixels = x[:, None].float() / max(self.levels - 1, 1)
        code = means_and_log_deviations(self.encoder(pixels), start=0.0)
        mean, log_deviation = code.chunk(2, 1)
        return Independent(Normal(mean, log_deviation.exp(), validate_args=False), 1)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        logits = self.decoder(z).movedim(-3, -1)
        return Independent(Categorical(logits=logits, validate_args=False), 2)


class BoundDensity:
    """log p(x) is taken to be its bound, in nats; so over all frames they sum to at most about one.

    Codes without a pathwise gradient are judged by one another (VIMCO). Raises ``UsageError`` on
    frames or states of another kind.
    """

    def __init__(
        self,
        config: BoundConfig,
        model: LatentVariableModel,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        assert isinstance(model, nn.Module)
        self.config, self.shape, self.levels, self.seed = config, shape, levels, seed
        self.device, self.model = torch.device(device), model.to(device)
        # As the PixelCNN learns, frame by frame: without momentum a step seldom overshoots.
        self.optimiser = torch.optim.RMSprop(
            model.parameters(), lr=config.learning_rate, alpha=0.95, eps=1e-4, foreach=True
        )
        self.steps = self.draws = 0

    @torch.no_grad()
    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        return torch.cat([self._judge(frame) for frame in self._frames(x)])

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        frames = self._frames(x)
        size = 1 if self.config.one_by_one else len(frames)
        before, after = [], []
        for start in range(0, len(frames), size):
            batch = frames[start : start + size]
            before += [self._judge(frame) for frame in batch]
            self._learn(batch)
            after += [self._judge(frame) for frame in batch]
        return torch.cat(before), torch.cat(after)

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        with seeded(fold(self.seed, self.draws), self.device):
            codes = self.model.prior().sample(torch.Size([n]))
            frames: Tensor = self.model.likelihood(codes).sample()
        self.draws += 1
        return frames.to(torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "levels": self.levels,
            "model": deepcopy(self.model.state_dict()),
            "optimiser": deepcopy(self.optimiser.state_dict()),
            "seed": self.seed,
            "steps": self.steps,
            "draws": self.draws,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimiser, state["optimiser"])
        self.seed, self.steps, self.draws = state["seed"], state["steps"], state["draws"]

    def _frames(self, x: UInt8[Tensor, "B H W"]) -> list[Int64[Tensor, "1 H W"]]:
        return list(x.to(self.device, torch.int64)[:, None])

    @torch.no_grad()
    def _judge(self, x: Int64[Tensor, "1 H W"]) -> Float[Tensor, " 1"]:
        """The bound of a frame by its own noise."""
        digest = int(frame_digest(x.to(torch.uint8)[:, None]))
        with seeded(fold(self.seed, digest), self.device):
            weights = draw_weights(self.model, x, self.config.samples)
        return bound(weights.log().double(), self.config.alpha)  # gains are small differences

    @torch.enable_grad()
    def _learn(self, batch: list[Int64[Tensor, "1 H W"]]) -> None:
        """One gradient step, by noise that no frame is judged by."""
        x, alpha, self.steps = torch.cat(batch), self.config.alpha, self.steps + 1
        with seeded(fold(self.seed, -self.steps), self.device):
            posterior = self.model.posterior(x)
            weights = draw_weights(
                self.model,
                x,
                self.config.samples,
                pathwise=posterior.has_rsample,
                posterior=posterior,
            )
        if posterior.has_rsample:
            value = pathwise(weights.log(), alpha=alpha)
        else:
            value = vimco(weights.log(), weights.log_posterior, alpha=alpha)
        self.optimiser.zero_grad()
        (-value.sum() / x.numel()).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
