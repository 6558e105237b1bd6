"""Kernels: the weights of neighbors by their distance, in Q as a mean of their returns."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Kernel = Literal["mean", "inverse-distance", "laplace"]

DELTA = 1e-3
"""What is added to squared distances, so that those of equal keys do not depend on rounding; of the
inverse distance as in Pritzel et al. 2017, eq. 5."""


def kernel_weights(kernel: Kernel, distances: Float[Tensor, "A k B"]) -> Float[Tensor, "A k B"]:
    """Return the weights of the neighbors' returns, which sum to 1, by their squared distances.

        mean: 1,  inverse-distance: 1 / (d^2 + delta),  laplace: exp(-d' / d'_min)

    The second is that of NEC (Pritzel et al. 2017, eq. 5). In the third d'^2 = d^2 + delta, and the
    width is the d' of the nearest neighbor. A neighbor at distance +inf does not exist and has
    weight 0, so that without neighbors all weights are 0.
    """
    if kernel == "mean":
        weights = distances.isfinite().to(distances.dtype)
    elif kernel == "inverse-distance":
        weights = 1 / (distances + DELTA)
    else:
        distance = (distances + DELTA).sqrt()
        width = distance.amin(1, keepdim=True).clamp(max=torch.finfo(distance.dtype).max)
        weights = torch.exp(1 - distance / width)
    return weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
