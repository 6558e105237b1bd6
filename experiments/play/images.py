"""Conversion of frames and per-pixel values to images."""

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from .panels import Image

INFERNO = np.array([[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10],
                    [252, 255, 164]])  # fmt: skip
"""Six evenly spaced colors of matplotlib's inferno."""


def frame_to_image(frame: UInt8[Tensor, "C H W"]) -> Image:
    """Convert a frame to an image: RGB for 3 channels, otherwise the last channel in gray."""
    pixels: Image = frame.cpu().numpy()
    return pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[-1]


def heat_map(values: NDArray[np.floating]) -> Image:
    """Map values in [0, 1] to the inferno color map."""
    positions = np.linspace(0, 1, len(INFERNO))
    x = np.clip(values, 0, 1)
    colors: Image = np.stack([np.interp(x, positions, c) for c in INFERNO.T], -1).astype(np.uint8)
    return colors


def overlay_heat_map(gray: Image, values: NDArray[np.floating]) -> Image:
    """Draw a heat map over a dimmed gray image of any other resolution, opaque where it is hot."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(gray.shape, values.shape, strict=True))
    heat = values[rows[:, None], columns] / max(float(values.max()), 1e-9)
    alpha = np.sqrt(heat)[..., None]
    background = np.repeat(gray[..., None] * 0.45, 3, 2)
    mixed: Image = (alpha * heat_map(0.25 + 0.75 * heat) + (1 - alpha) * background).astype(
        np.uint8
    )
    return mixed
