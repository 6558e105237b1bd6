"""The figure of a game: a row per density, with what it samples, completes and finds surprising."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...world_models.density.quantization import FrameQuantizer
from ..evaluation.frame_figures import heat_images, symbol_images
from ..evaluation.video import Image
from ..reporting.document import Media
from .latent_columns import STEPS_SHOWN

STRIPS = {"held-out": 1, "samples": 4, "erased": 1, "in-painted": 3, "noisy": 1, "denoised": 1}
STRIPS |= {"reconstructed": STEPS_SHOWN, "surprise": 1}
"""Pictures of a density from left to right, and the frames of each."""
GAP = 3
"""Pixels between two frames; between two strips there are three times as many."""
PIXELS_PER_INCH = 60
"""Pixels of frames per inch of the figure."""
BORDER = 170
"""Gray level of the line around a frame."""


def gallery_figure(
    game: str, pictures: Mapping[str, Mapping[str, Any]], quantizer: FrameQuantizer
) -> Media:
    """Draw the pictures of every density in a game; what it has not is left empty."""
    from matplotlib.figure import Figure  # slow to import

    height, width = quantizer.shape
    starts: dict[str, int] = {}
    left = 1
    for name, count in STRIPS.items():
        starts[name] = left
        left += count * (width + GAP) + 2 * GAP
    canvas = np.full((len(pictures) * (height + GAP), left, 3), 255, np.uint8)
    for row, drawn in enumerate(pictures.values()):
        top = 1 + row * (height + GAP)
        for name in STRIPS.keys() & drawn.keys():
            for k, image in enumerate(_images(drawn[name], quantizer)[: STRIPS[name]]):
                x = starts[name] + k * (width + GAP)
                canvas[top - 1 : top + height + 1, x - 1 : x + width + 1] = BORDER
                canvas[top : top + height, x : x + width] = image
    size = canvas.shape[1] / PIXELS_PER_INCH, canvas.shape[0] / PIXELS_PER_INCH
    figure = Figure(figsize=(size[0] + 1.4, size[1] + 0.3))
    frame = (1.3 / (size[0] + 1.4), 0.0, size[0] / (size[0] + 1.4), size[1] / (size[1] + 0.3))
    axes = figure.add_axes(frame)
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set(frame_on=False, xticks=[], yticks=[])
    for row, name in enumerate(pictures):
        middle = row * (height + GAP) + height / 2
        axes.text(-2 * GAP, middle, name, fontsize=9, ha="right", va="center")
    for name, x in starts.items():
        axes.text(x, -2 * GAP, name, fontsize=9)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=3 * PIXELS_PER_INCH)
    return Media(f"{game}.png", data.getvalue(), f"{game}: {', '.join(STRIPS)}", wide=True)


def _images(frames: Any, quantizer: FrameQuantizer) -> UInt8[np.ndarray, "n h w 3"]:
    """Return frames of symbols, nats of their pixels, or images, as images."""
    import torch

    if frames.ndim == 4:
        images: Image = frames
        return images
    x = torch.from_numpy(frames)
    return heat_images(frames) if x.is_floating_point() else symbol_images(x, quantizer)
