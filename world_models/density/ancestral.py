"""Sampling from densities that are sequential: pixel after pixel, in raster order."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from .capabilities import SequentialDensity


@torch.no_grad()
def ancestral_sample(
    density: SequentialDensity, n: int, generator: torch.Generator, device: torch.device | str
) -> UInt8[Tensor, "{n} H W"]:
    """Sample frames pixel by pixel from the conditionals, with a generator of the CPU."""
    x = torch.zeros(n, *density.shape, dtype=torch.uint8, device=device)
    for i in range(density.shape[0]):
        for j in range(density.shape[1]):
            probs = density.conditional(x, i, j).cpu()
            x[:, i, j] = probs.multinomial(1, generator=generator)[:, 0].to(x)
    return x
