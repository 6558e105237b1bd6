"""Rate and distortion of frames: conceptual compression beside lossy codecs of images.

A codec of images is given one mosaic of all frames, without which its headers would outweigh them.
The bytes of a model are those of its message; its weights are counted apart.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

from ...world_models.coding.conceptual import decode_latents, encode_latents, require_steps
from ...world_models.latents.interface import LatentModel

QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Settings of the codecs of images."""
BETAS = (0.25, 1.0, 4.0)
"""Weights of the rate in conceptual compression."""
CODECS = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif"}
"""Lossy codecs of images, and what Pillow calls their libraries."""


@dataclass(frozen=True)
class RatePoint:
    """Size and error of some frames in one setting of a codec."""

    codec: str
    setting: str
    bytes: int
    bits_per_pixel: float
    psnr: float
    """Peak signal-to-noise ratio of all pixels, in decibels."""


def rate_distortion(
    model: LatentModel, frames: UInt8[Tensor, "N H W"], *, betas: tuple[float, ...] = BETAS
) -> list[RatePoint]:
    """Measure a model with its first 0, 1, ... steps, and the codecs of images that are installed.

    Frames are symbols of the model. Raises UsageError for a model that is not composed in steps,
    and for frames that it was not built for.
    """
    target = frames.float() / model.pixels.top
    points = []
    for steps in range(require_steps(model).code_shape[0] + 1):
        for beta in betas if steps else betas[:1]:
            message = encode_latents(model, frames, steps, beta=beta)
            setting = f"{steps} steps, beta {beta:g}" if steps else "0 steps"
            images = decode_latents(model, message)
            points.append(_point(type(model).__name__, setting, len(message), images, target))
    mosaic = mosaic_of((255 * target).round().to(torch.uint8).numpy())
    for codec, library in CODECS.items():
        if features.check(library):
            for quality in QUALITIES:
                size, decoded = _save(mosaic, codec, quality)
                tiles = torch.from_numpy(tiles_of(decoded, frames.shape)).float() / 255
                points.append(_point(codec, f"quality {quality}", size, tiles, target))
    return points


def mosaic_of(frames: UInt8[NDArray[np.uint8], "N H W"]) -> NDArray[np.uint8]:
    """Return one image of all frames side by side, about as many rows of them as columns."""
    n, height, width = frames.shape
    columns = math.ceil(math.sqrt(n))
    tiles = np.zeros((-(-n // columns) * columns, height, width), np.uint8)
    tiles[:n] = frames
    rows = tiles.reshape(-1, columns, height, width).swapaxes(1, 2)
    return rows.reshape(-1, columns * width)


def tiles_of(mosaic: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the frames of a mosaic, of this shape [N H W]."""
    n, height, width = shape
    rows = mosaic.reshape(-1, height, mosaic.shape[1] // width, width).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(-1, height, width)[:n])


def _save(mosaic: NDArray[np.uint8], codec: str, quality: int) -> tuple[int, NDArray[np.uint8]]:
    """Return the size of a mosaic in bytes, and what it decodes to."""
    file = io.BytesIO()
    Image.fromarray(mosaic).save(file, codec, quality=quality)
    return file.tell(), np.asarray(Image.open(file).convert("L"))


def _point(
    codec: str,
    setting: str,
    size: int,
    images: Float[Tensor, "N H W"],
    target: Float[Tensor, "N H W"],
) -> RatePoint:
    error = float((images - target).square().mean())
    psnr = -10 * math.log10(error) if error else math.inf
    return RatePoint(codec, setting, size, 8 * size / target.numel(), psnr)
