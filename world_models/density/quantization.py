"""Quantization of frames to symbols: grayscale, area-averaged to a small size, in a few levels.

The preprocessing of Bellemare et al. 2016 (section 3): 42 x 42 pixels of 3 bits. It is exact
integer arithmetic, so a frame has the same symbols in every batch and on every machine.
"""

from math import gcd

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def quantize_frames(
    frames: UInt8[Tensor, "N C H W"], shape: tuple[int, int], levels: int
) -> UInt8[Tensor, "N h w"]:
    """Return symbols floor(levels x / 256), where x is the exact mean gray of a pixel's area."""
    total, area = area_sums(grayscale(frames), shape)
    return (total.to(torch.int64) * levels).div_(256 * area, rounding_mode="floor").to(torch.uint8)


def area_sums(
    gray: UInt8[Tensor, "N H W"], shape: tuple[int, int]
) -> tuple[Float[Tensor, "N h w"], int]:
    """Return the sum over each output pixel's area, and the area; their ratio is the mean.

    Areas are in fractions of a pixel such that both are whole numbers.
    """
    if gray.shape[1:] == shape:
        return gray.to(torch.float32), 1
    rows = pixel_overlaps(gray.shape[1], shape[0])
    columns = pixel_overlaps(gray.shape[2], shape[1])
    area = int(rows[0].sum() * columns[0].sum())
    # Whole numbers up to 2^24 and 2^53 are exact in these types, in sums of any order.
    dtype = torch.float32 if 255 * area < 1 << 24 else torch.float64
    return rows.to(dtype) @ gray.to(dtype) @ columns.to(dtype).T, area


def pixel_overlaps(size: int, parts: int) -> Float[Tensor, "{parts} {size}"]:
    """Return the overlap of each of ``size`` pixels with each of ``parts`` parts, as integers."""
    unit = gcd(size, parts)
    pixel, part = parts // unit, size // unit  # lengths in the smallest unit that makes both whole
    begin = torch.arange(parts)[:, None] * part, torch.arange(size) * pixel
    end = begin[0] + part, begin[1] + pixel
    return (torch.minimum(*end) - torch.maximum(*begin)).clamp(min=0).to(torch.float64)


def grayscale(frames: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "N H W"]:
    """Return the channel of a grayscale frame, or the luminance of an RGB one (ITU-R BT.601)."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    red, green, blue = frames.to(torch.int32).unbind(1)
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).to(torch.uint8)
