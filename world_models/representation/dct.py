"""Discrete cosine transform: the lowest spatial frequencies of each frame.

NAIT (Long, Blair & van Hoof 2022) has such fixed keys. The transform is orthonormal, so the
distance of two keys is that of the frames without their higher frequencies. It needs no training.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.checks import at_least, check
from ...envs.interface import Metrics, Segment
from ..interface import RepresentationConfig
from ..precision import FLOAT32, Precision
from ..state import HasState


@dataclass(frozen=True)
class DCTConfig(RepresentationConfig):
    """The lowest frequencies of each frame's discrete cosine transform."""

    size: int = 12
    """Frequencies per axis of an image, at most its pixels: a key has size * size numbers per frame
    and channel."""

    def __post_init__(self) -> None:
        check(self, "representation", at_least(1), "size")

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "DCT":
        return DCT(obs_shape, self.size, device=device)


class DCT(HasState):
    """key = (R x C^T) / 255, with the first rows of the cosine matrices R and C."""

    segment_length = 0

    def __init__(
        self,
        obs_shape: tuple[int, int, int],
        size: int,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        channels, height, width = obs_shape
        self.rows = cosines(size, height).to(device)
        self.columns = cosines(size, width).to(device) / 255
        self.dim = channels * len(self.rows) * len(self.columns)

    def update(self, segment: Segment) -> Metrics:
        return {}

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        pixels = obs.to(self.rows.device).to(self.rows.dtype)
        return (self.rows @ pixels @ self.columns.T).flatten(1)


def cosines(count: int, length: int) -> Float[Tensor, "{min(count,length)} {length}"]:
    """Return the rows of the orthonormal DCT-II of ``length`` numbers with the lowest frequencies.

    C_kn = sqrt(2 / length) cos(pi (n + 1/2) k / length),  divided by sqrt(2) for k = 0
    """
    frequency = torch.arange(min(count, length), dtype=torch.float64)[:, None]
    place = torch.arange(length, dtype=torch.float64) + 0.5
    matrix = math.sqrt(2 / length) * torch.cos(math.pi / length * frequency * place)
    matrix[0] /= math.sqrt(2)
    return matrix.float()
