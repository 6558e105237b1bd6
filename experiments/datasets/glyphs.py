"""Glyphs: characters of a few strokes, each drawn many times, like those of Omniglot.

After Lake et al. 2015, "Human-level concept learning through probabilistic program induction":
a class is a character, and each of its copies is drawn by another hand. Here a stroke is a
quadratic Bezier curve; a copy moves its control points a little, and is shifted, turned, scaled and
sheared as a whole.
"""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.interface import Segment

MOST_STROKES = 3
POINTS = 24
"""Points of a curve that are inked."""
PEN = 0.07
"""Radius of the pen, where the width of a glyph is 2."""
TREMOR, SHIFT, CHANGE = 0.06, 0.12, 0.12
"""Standard deviations of a copy's control points, of its place, and of its linear map's entries."""


def glyphs(
    classes: int, copies: int, *, seed: int = 0, size: int = 20
) -> UInt8[Tensor, "classes copies size size"]:
    """Draw ``copies`` of each of ``classes`` random characters, as white ink of level 255 on 0.

    A class is a function of the seed and its index.
    """
    return torch.stack([_copies_of(copies, seed, index, size) for index in range(classes)])


def pairs(frames: UInt8[Tensor, "B 2 C H W"]) -> Segment:
    """Return segments of one timestep, from a frame to another one of its class."""
    zeros, no = torch.zeros(len(frames), 1), torch.zeros(len(frames), 2, dtype=torch.bool)
    return Segment(zeros.long(), frames, zeros, zeros, zeros + 1, first=no, last=no)


def _copies_of(copies: int, seed: int, index: int, size: int) -> UInt8[Tensor, "N size size"]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    strokes = int(torch.randint(1, MOST_STROKES + 1, (), generator=generator))
    controls = 1.6 * torch.rand(strokes, 3, 2, generator=generator) - 0.8

    def normal(*shape: int) -> Float[Tensor, "..."]:
        return torch.randn(copies, *shape, generator=generator)

    drawn = controls + TREMOR * normal(strokes, 3, 2)
    linear = torch.eye(2) + CHANGE * normal(2, 2)
    t = torch.linspace(0, 1, POINTS)[:, None]
    bernstein = torch.cat([(1 - t) ** 2, 2 * t * (1 - t), t**2], 1)  # [points, 3]
    curves = torch.einsum("pc,nscd->nspd", bernstein, drawn).flatten(1, 2)
    points = curves @ linear + SHIFT * normal(1, 2)
    centers = (torch.arange(size) + 0.5) / size * 2 - 1
    pixels = torch.cartesian_prod(centers, centers)
    distance = torch.cdist(pixels.expand(copies, -1, -1), points).amin(2)
    radius = max(PEN, math.sqrt(0.5) / size)  # a line leaves no gaps
    return (255 * (distance < radius)).to(torch.uint8).view(copies, size, size)
