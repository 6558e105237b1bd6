"""Pseudo-counts: how often a frame was visited, to judge by a density that has just learned it.

Log-probabilities are in nats, of the same frame just before and just after it was learned. A frame
whose probability did not grow has an infinite count, hence no bonus.
"""

import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 0.01
"""The count below which no bonus grows: it keeps a first visit's bonus finite."""


def pseudo_count(before: Float[Tensor, " N"], after: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """N = rho (1 - rho') / (rho' - rho), in logarithms (Bellemare et al. 2016, eq. 2)."""
    count = -after.clamp(max=0).expm1() / (after - before).expm1()
    return torch.where(after > before, count, torch.inf)


def count_bonus(count: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """(N + 0.01)^(-1/2) (Bellemare et al. 2016); its factor beta is 0.05 for DQN."""
    return (count + LEAST).rsqrt()


def gain_pseudo_count(
    gain: Float[Tensor, " N"], frames: Float[Tensor, " N"], c: float = 0.1
) -> Float[Tensor, " N"]:
    """N = 1 / (exp(c n^(-1/2) max(gain, 0)) - 1) at the n-th frame (Ostrovski et al. 2017).

    The gain of a net that learns at a constant rate never vanishes; n^(-1/2) makes it decay.
    """
    return (c * frames.rsqrt() * gain.clamp(min=0)).expm1().reciprocal()


def gain_count_bonus(count: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """N^(-1/2) (Ostrovski et al. 2017), its factor 1; at most 10.

    The paper clips reward and bonus to [-1, 1] together, where a bonus above 1 is 1 already.
    """
    return count.clamp(min=LEAST).rsqrt()
