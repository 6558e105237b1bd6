"""The bits per pixel of frames under a density, exact or by its bound."""

import math
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.errors import NumericalError
from ...world_models.inference.evidence import bits_per_dimension
from ...world_models.interface import Density, DensityConfig

CHUNK = 50
"""Frames that are scored at once."""


def log_probs(model: Density, x: UInt8[Tensor, "B h w"]) -> Float[Tensor, " B"]:
    """Return log p(x) of many frames in nats, float64."""
    return torch.cat([model.log_prob(part).cpu().double() for part in torch.split(x, CHUNK)])


def frame_bits(
    config: DensityConfig, log_prob: Float[Tensor, " B"], num_pixels: int
) -> dict[str, Any]:
    """Return the mean bits per pixel of frames with its standard error over the frames.

    Of a bound they are at least those of the model, and their error contains that of the samples.
    Raises NumericalError for a log-probability that is not finite.
    """
    bits = bits_per_dimension(log_prob, num_pixels)
    if not bits.isfinite().all():
        wrong = float(log_prob[~bits.isfinite()][0])
        raise NumericalError(f"The log-probability of a held-out frame is {wrong}.")
    return {
        "frames": len(bits),
        "kind": config.kind,
        "bits_per_pixel": float(bits.mean()),
        "standard_error": float(bits.std() / math.sqrt(len(bits))),
    }
