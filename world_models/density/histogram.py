"""Histogram: independent pixels, each a Dirichlet-multinomial; the least that a density can know.

It is the context-tree density without contexts (Bellemare et al. 2016, section 3), hence what the
contexts are measured against.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from world_models.density.frames import check_frames, check_state
from world_models.interface import DensityConfig


@dataclass(frozen=True)
class HistogramConfig(DensityConfig):
    """Counts of the symbols seen at each pixel."""

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> "Histogram":
        return Histogram(shape, levels, seed=seed, device=device)


class Histogram:
    """p(x) = product over pixels of (count of the symbol + 1/levels) / (frames + 1).

    1/levels is the Perks prior; log-probabilities are in nats. Raises ``UsageError`` on frames or
    states of another kind.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape, self.levels = shape, levels
        self.counts = torch.zeros(*shape, levels, dtype=torch.int64, device=device)
        self.frames = 0
        self.generator = torch.Generator().manual_seed(seed)  # the same on every device

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        return self.pixel_log_probs(x).sum((1, 2))

    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        index = x.to(self.counts.device, torch.int64).movedim(0, -1)
        return self._score(self.counts.gather(-1, index).movedim(-1, 0), self.frames)

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        index = x.to(self.counts.device, torch.int64)
        seen = one_hot(index, self.levels)
        # A frame is counted on top of those before it in its batch: integers, so exactly in order.
        counts = (self.counts + seen.cumsum(0)).gather(-1, index[..., None])[..., 0]
        frames = self.frames + torch.arange(len(x), device=counts.device).view(-1, 1, 1)
        self.counts += seen.sum(0)
        self.frames += len(x)
        before, after = self._score(counts - 1, frames), self._score(counts, frames + 1)
        return before.sum((1, 2)), after.sum((1, 2))

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        weights = (self.counts.cpu() + 1 / self.levels).flatten(0, 1)
        drawn = weights.multinomial(n, replacement=True, generator=self.generator)
        return drawn.T.reshape(n, *self.shape).to(self.counts.device, torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "levels": self.levels,
            "counts": self.counts.clone(),
            "frames": self.frames,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        self.counts.copy_(state["counts"])
        self.frames = state["frames"]
        self.generator.set_state(state["generator"].cpu())

    def _score(self, counts: Tensor, frames: Tensor | int) -> Float[Tensor, "B H W"]:
        return ((counts + 1 / self.levels).double() / (frames + 1)).log()
