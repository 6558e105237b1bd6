"""Figures of small frames in rows: what a density is shown, samples and completes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from ...world_models.density.quantization import FrameQuantizer
from ..runs.files import write_figure
from .screen import plane_colors
from .video import Image

CELL = 0.95
"""Inches of a frame."""


def frame_rows(
    symbols: Mapping[str, UInt8[Tensor, "n h w"]],
    surprise: Mapping[str, Float[Tensor, "n h w"]],
    quantizer: FrameQuantizer,
    path: Path,
) -> None:
    """Draw frames of symbols, and the nats of each of their pixels, a row for each name."""
    from matplotlib.figure import Figure  # slow to import

    rows: dict[str, Any] = {name: symbol_images(x, quantizer) for name, x in symbols.items()}
    rows |= {name: heat_images(x.float().numpy()) for name, x in surprise.items()}
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(CELL * columns + 1.2, CELL * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        for axes in axes_row:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for axes, image in zip(axes_row, images, strict=False):
            axes.imshow(image, interpolation="nearest")
    write_figure(path, figure)


def symbol_images(
    symbols: UInt8[Tensor, "n h w"], quantizer: FrameQuantizer
) -> UInt8[np.ndarray, "n h w 3"]:
    """Return symbols as images: gray, or the color of the highest plane."""
    if quantizer.planes:
        images: Image = plane_colors(quantizer.levels - 1)[symbols.cpu().numpy()]
        return images
    gray = quantizer.gray(symbols).cpu().numpy()
    return np.stack([gray] * 3, -1)


def heat_images(
    nats: Float[np.ndarray, "n h w"], most: float = 5.0
) -> UInt8[np.ndarray, "n h w 3"]:
    """Return the surprise of pixels as images from black over red to white, at ``most`` nats."""
    share = np.clip(nats / most, 0, 1)[..., None]
    channels = np.clip(3 * share - np.arange(3), 0, 1)
    return np.round(255 * channels).astype(np.uint8)
