"""Downscaled frames: few pixels of few gray levels (Ecoffet et al. 2021).

Frames that differ in small things have one code, so that equal codes are the cells of an archive.
With 11 x 8 pixels and 8 levels these are the cells of Ecoffet et al. 2019.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.checks import at_least, check, within
from ...envs.interface import Metrics, Segment
from ..density.quantization import pixel_overlaps
from ..interface import RepresentationConfig
from ..precision import FLOAT32, Precision
from ..state import HasState


@dataclass(frozen=True)
class DownscaledConfig(RepresentationConfig):
    """Means of areas of each frame of an observation, in few gray levels."""

    width: int = 11
    """Pixels per row, at most those of the frame."""
    height: int = 8
    """Rows, at most those of the frame."""
    levels: int = 8
    """Gray levels."""

    def __post_init__(self) -> None:
        check(self, "representation", at_least(1), "width", "height")
        check(self, "representation", within(2, 256), "levels")

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Downscaled":
        return Downscaled(obs_shape, self, device)


class Downscaled(HasState):
    """key = s / (levels - 1), with the symbols s = floor(levels m / 256) of the means m.

    Means are of whole numbers, so that a key does not depend on the device or on the batch.
    """

    segment_length = 0

    def __init__(
        self,
        obs_shape: tuple[int, int, int],
        config: DownscaledConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        channels, height, width = obs_shape
        self.levels, self.device = config.levels, torch.device(device)
        rows = pixel_overlaps(height, min(height, config.height))
        columns = pixel_overlaps(width, min(width, config.width))
        self.area = int(rows[0].sum() * columns[0].sum())
        # Sums of products are whole numbers below 256 x area, exact in this type.
        dtype = torch.float32 if 256 * self.area <= 1 << 24 else torch.float64
        self.rows, self.columns = rows.to(self.device, dtype), columns.to(self.device, dtype)
        self.dim = channels * len(self.rows) * len(self.columns)

    def update(self, segment: Segment) -> Metrics:
        return {}

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        pixels = obs.to(self.device, self.rows.dtype)
        sums = self.rows @ pixels @ self.columns.T
        symbols = sums.long() * self.levels // (256 * self.area)
        return symbols.flatten(1).float() / (self.levels - 1)
