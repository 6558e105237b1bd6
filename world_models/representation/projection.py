"""Random projection: one fixed Gaussian matrix (Blundell et al. 2016, section 3.1).

By the Johnson-Lindenstrauss lemma it preserves Euclidean distances between frames up to a factor
near one, so the nearest neighbors of a key are near neighbors of its frame. It needs no training.
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
class ProjectionConfig(RepresentationConfig):
    """A fixed Gaussian projection of the pixels."""

    dim: int = 64
    """Length of a key."""

    def __post_init__(self) -> None:
        check(self, "representation", at_least(1), "dim")

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Projection":
        return Projection(obs_shape, self.dim, seed=seed, device=device)


class Projection(HasState):
    """key = G x / 255, with G fixed and drawn from N(0, 1 / dim)."""

    STATE = ("matrix",)

    segment_length = 0

    def __init__(
        self,
        obs_shape: tuple[int, int, int],
        dim: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.dim = dim
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(math.prod(obs_shape), dim, generator=generator)
        self.matrix = (matrix / (255 * math.sqrt(dim))).to(device)  # [K*H*W, D]

    def update(self, segment: Segment) -> Metrics:
        return {}

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        pixels = obs.to(self.matrix.device).flatten(1)
        return pixels.to(self.matrix.dtype) @ self.matrix
