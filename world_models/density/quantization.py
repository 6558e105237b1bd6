"""Quantization of frames to symbols: grayscale, area-averaged to a small size, in a few levels.

The preprocessing of Bellemare et al. 2016 (section 3): 42 x 42 pixels of 3 bits. It is exact
integer arithmetic, so a frame has the same symbols in every batch and on every machine. Frames of
planes, as MinAtar's, have no gray: their symbol is the highest plane that is on.
"""

from math import gcd

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from ...envs.interface import EnvSpec


class FrameQuantizer:
    """Maps the frames of an environment to symbols 0..levels-1, at most ``resolution`` per side.

    Of planes, ``levels`` is their number plus one, whatever the one asked for.
    """

    def __init__(self, spec: EnvSpec, *, resolution: int, levels: int) -> None:
        self.planes = spec.planes
        self.shape = min(resolution, spec.obs_shape[1]), min(resolution, spec.obs_shape[2])
        self.levels = spec.channels + 1 if spec.planes else levels

    def __call__(self, frames: UInt8[Tensor, "N C H W"]) -> UInt8[Tensor, "N h w"]:
        """Return the symbols of frames."""
        if self.planes:
            return highest_planes(frames, self.shape)
        return quantize_frames(frames, self.shape, self.levels)

    def gray(self, symbols: UInt8[Tensor, "N h w"]) -> UInt8[Tensor, "N h w"]:
        """Return symbols as gray pixels, spread over 0..255."""
        return (symbols.int() * 255 // (self.levels - 1)).to(torch.uint8)


def highest_planes(
    frames: UInt8[Tensor, "N C H W"], shape: tuple[int, int]
) -> UInt8[Tensor, "N h w"]:
    """Return 1 + the index of the highest plane that is on in a pixel's area, or 0 for none."""
    number = torch.arange(1, frames.shape[1] + 1, dtype=torch.uint8, device=frames.device)
    highest = ((frames > 127) * number[:, None, None]).amax(1)
    if highest.shape[1:] == shape:
        return highest
    return functional.adaptive_max_pool2d(highest.float(), shape).to(torch.uint8)


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
