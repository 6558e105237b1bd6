"""Random shifts of images, the data augmentation of DrQ (Kostrikov et al. 2020)."""

from dataclasses import replace

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..envs import prng
from .replay import Batch


def shift_batch(batch: Batch, pixels: int, rng: Int64[Tensor, " B"]) -> Batch:
    """Shift the observations of each transition, and those after it, by up to some pixels.

    ``rng`` is a key per transition, from which all of its shifts are drawn.
    """
    side = 2 * pixels + 1
    draws = prng.to_randint(prng.bits(rng, 4, prng.Purpose.SHIFT), side) - pixels
    draws = draws.to(batch.obs.device)
    return replace(
        batch,
        obs=shifted(batch.obs, *draws[:, :2].unbind(1)),
        next_obs=shifted(batch.next_obs, *draws[:, 2:].unbind(1)),
    )


def shifted(
    images: UInt8[Tensor, "B K H W"], down: Int64[Tensor, " B"], right: Int64[Tensor, " B"]
) -> UInt8[Tensor, "B K H W"]:
    """Shift each image; the pixels at its border are repeated where it has left room."""
    height, width = images.shape[2:]
    row = (torch.arange(height, device=images.device) - down[:, None]).clamp(0, height - 1)
    column = (torch.arange(width, device=images.device) - right[:, None]).clamp(0, width - 1)
    source = (row[:, :, None] * width + column[:, None]).flatten(1)  # [B, H * W]
    pixels = images.flatten(2)
    return pixels.gather(2, source[:, None].expand_as(pixels)).view_as(images)
