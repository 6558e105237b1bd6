"""Histogram: independent pixels, each a Dirichlet-multinomial.

It is the context-tree density without contexts (Bellemare et al. 2016, section 3), and hence the
baseline for their effect.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from ..interface import DensityConfig
from ..precision import FLOAT32, Precision
from ..state import HasState
from .frames import check_frames, check_state


@dataclass(frozen=True)
class HistogramConfig(DensityConfig):
    """Counts of each symbol at each pixel."""

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Histogram":
        return Histogram(shape, levels, seed=seed, device=device)


class Histogram(HasState):
    """p(x) = product over pixels of (count of the symbol + 1/levels) / (number of frames + 1).

    1/levels is the Perks prior; log-probabilities are in nats. Raises UsageError for frames or
    states of another shape or number of levels.
    """

    STATE = ("shape", "levels", "counts", "num_frames", "generator")

    radius = 0
    """Pixels are independent, so a conditional reads none."""

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
        self.num_frames = 0  # learned so far
        self.generator = torch.Generator().manual_seed(seed)  # the same on every device

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        return self.pixel_log_probs(x).sum((1, 2))

    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        index = x.to(self.counts.device, torch.int64).movedim(0, -1)
        return self._pixel_log_probs(self.counts.gather(-1, index).movedim(-1, 0), self.num_frames)

    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        probs = (self.counts[i, j].double() + 1 / self.levels) / (self.num_frames + 1)
        return probs.expand(len(x), -1)

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        index = x.to(self.counts.device, torch.int64)
        observed = one_hot(index, self.levels)
        # Each frame's counts include the earlier frames of its batch; integer sums are exact.
        counts = (self.counts + observed.cumsum(0)).gather(-1, index[..., None])[..., 0]
        num_frames = self.num_frames + torch.arange(len(x), device=counts.device).view(-1, 1, 1)
        self.counts += observed.sum(0)
        self.num_frames += len(x)
        before = self._pixel_log_probs(counts - 1, num_frames)
        after = self._pixel_log_probs(counts, num_frames + 1)
        return before.sum((1, 2)), after.sum((1, 2))

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        weights = (self.counts.cpu() + 1 / self.levels).flatten(0, 1)
        symbols = weights.multinomial(n, replacement=True, generator=self.generator)
        return symbols.T.reshape(n, *self.shape).to(self.counts.device, torch.uint8)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        super().load_state_dict(state | {"shape": self.shape})

    def _pixel_log_probs(self, counts: Tensor, num_frames: Tensor | int) -> Float[Tensor, "B H W"]:
        return ((counts.double() + 1 / self.levels) / (num_frames + 1)).log()
