"""Frames as symbols: grey, area-averaged to a small size, and cut into a few levels.

As Bellemare et al. 2016 (section 3) prepare frames for their density: 42 x 42 pixels, 3 bits. All
of it is exact integer arithmetic, so a frame has the same symbols in every batch, on any machine.
"""

from math import gcd

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def as_symbols(
    frames: UInt8[Tensor, "N C H W"], shape: tuple[int, int], levels: int
) -> UInt8[Tensor, "N h w"]:
    """Symbols floor(levels x / 256), x being the exact mean grey of each output pixel's area."""
    total, area = area_sums(grey(frames), shape)
    return (total.to(torch.int64) * levels).div_(256 * area, rounding_mode="floor").to(torch.uint8)


def area_sums(
    grey: UInt8[Tensor, "N H W"], shape: tuple[int, int]
) -> tuple[Float[Tensor, "N h w"], int]:
    """Sums over each output pixel's area, in fractions of a pixel that make them whole numbers.

    Returns the sums and the area they are over: their ratio is the mean.
    """
    if grey.shape[1:] == shape:
        return grey.to(torch.float32), 1
    rows, columns = overlaps(grey.shape[1], shape[0]), overlaps(grey.shape[2], shape[1])
    area = int(rows[0].sum() * columns[0].sum())
    # Whole numbers up to 2^24 and 2^53 are exact in these types, in sums of any order.
    exact = torch.float32 if 255 * area < 1 << 24 else torch.float64
    return rows.to(exact) @ grey.to(exact) @ columns.to(exact).T, area


def overlaps(size: int, parts: int) -> Float[Tensor, "{parts} {size}"]:
    """How much of each of ``size`` pixels lies in each of ``parts`` equal parts, as integers."""
    unit = gcd(size, parts)
    pixel, part = parts // unit, size // unit  # their lengths, in the largest common measure
    begin = torch.arange(parts)[:, None] * part, torch.arange(size) * pixel
    end = begin[0] + part, begin[1] + pixel
    return (torch.minimum(*end) - torch.maximum(*begin)).clamp(min=0).to(torch.float64)


def grey(frames: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "N H W"]:
    """The one channel of a grey frame, or the luminance of a coloured one (ITU-R BT.601)."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    red, green, blue = frames.to(torch.int32).unbind(1)
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).to(torch.uint8)
