"""Frames and numbers of pixels as images."""

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from experiments.play.panels import Image


def picture(frame: UInt8[Tensor, "C H W"]) -> Image:
    """A frame as an image."""
    pixels: Image = frame.cpu().numpy()
    return pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[-1]


def heat(level: NDArray[np.floating]) -> Image:
    """Levels 0..1 as colours: black, violet, orange, pale yellow."""
    places = np.linspace(0, 1, len(HEAT))
    x = np.clip(level, 0, 1)
    colours: Image = np.stack([np.interp(x, places, c) for c in HEAT.T], -1).astype(np.uint8)
    return colours


HEAT = np.array([[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10],
                 [252, 255, 164]])  # fmt: skip
"""matplotlib's inferno, at six places."""


def over(grey: Image, level: NDArray[np.floating]) -> Image:
    """A heat map of few or many pixels over a dimmed grey image, the hotter the brighter."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(grey.shape, level.shape, strict=True))
    hot = level[rows[:, None], columns] / max(float(level.max()), 1e-9)
    share = np.sqrt(hot)[..., None]
    dimmed = np.repeat(grey[..., None] * 0.45, 3, 2)
    mixed: Image = (share * heat(0.25 + 0.75 * hot) + (1 - share) * dimmed).astype(np.uint8)
    return mixed
