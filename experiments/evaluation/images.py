"""Images: their size on a display, and images of per-pixel values."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from .video import Image

INFERNO: Image = colormaps["inferno"](np.arange(256), bytes=True)[:, :3]


def pixel_aspect(image: Image) -> float:
    """Return the width of a pixel in heights; an Atari console fills a display of 4:3."""
    return 4 / 3 * 210 / 160 if image.shape[:2] == (210, 160) else 1.0


def fit(image: Image, width: float, height: float) -> tuple[float, float]:
    """Return the largest size within a rectangle, of whole pixels per row from twice on."""
    rows, columns = image.shape[0], image.shape[1] * pixel_aspect(image)
    scale = min(width / columns, height / rows)
    scale = int(scale) if scale >= 2 else scale
    return columns * scale, rows * scale


def heat_map(values: NDArray[np.floating]) -> Image:
    """Map values in [0, 1] to the inferno color map."""
    colors: Image = INFERNO[np.minimum(values * 256, 255).astype(np.uint8)]
    return colors


def resized(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array in another number of rows and columns, by the nearest of its own."""
    rows, columns = (
        np.arange(n) * m // n for n, m in zip(shape[:2], values.shape[:2], strict=True)
    )
    taken: NDArray[Any] = values[rows[:, None], columns]
    return taken


def overlay_heat_map(gray: Image, values: NDArray[np.floating]) -> Image:
    """Draw a heat map over a dimmed gray image of any other resolution, opaque where it is hot."""
    heat = resized(values, gray.shape) / max(float(values.max()), 1e-9)
    alpha, dimmed = np.sqrt(heat)[..., None], gray[..., None] * 0.45
    mixed: Image = alpha * heat_map(0.25 + 0.75 * heat) + (1 - alpha) * dimmed
    return mixed.astype(np.uint8)
