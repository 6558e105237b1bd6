"""Pseudo-counts: visit counts of frames, derived from a density's update on them.

Log-probabilities are in nats, of the same frame just before (log rho) and just after (log rho') the
update; the prediction gain is log rho' - log rho. A frame whose probability did not increase has an
infinite count, and hence no bonus.
"""

import torch
from jaxtyping import Float
from torch import Tensor

MIN_COUNT = 0.01
"""Smallest count, which keeps the bonus of a first visit finite."""


def pseudo_count(before: Float[Tensor, " N"], after: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the pseudo-count of frames (Bellemare et al. 2016, eq. 2).

        N = rho (1 - rho') / (rho' - rho)

    It solves rho = N / n and rho' = (N + 1) / (n + 1) for the count N of the frame and the total n,
    and is computed as (1 - rho') / (exp(gain) - 1), which does not underflow.
    """
    count = -after.clamp(max=0).expm1() / (after - before).expm1()
    return torch.where(after > before, count, torch.inf)


def count_bonus(count: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return (N + 0.01)^(-1/2) (Bellemare et al. 2016); their scale beta is 0.05 for DQN."""
    return (count + MIN_COUNT).rsqrt()


def gain_pseudo_count(
    gain: Float[Tensor, " N"], frames: Float[Tensor, " N"], c: float = 0.1
) -> Float[Tensor, " N"]:
    """Return N = 1 / (exp(c n^(-1/2) max(gain, 0)) - 1) at the n-th frame (Ostrovski et al. 2017).

    The gain of a network with a constant learning rate never vanishes; n^(-1/2) makes it decay.
    """
    return (c * frames.rsqrt() * gain.clamp(min=0)).expm1().reciprocal()


def gain_count_bonus(count: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return N^(-1/2), at most 10 (Ostrovski et al. 2017; their scale is 1).

    The paper clips the sum of reward and bonus to [-1, 1], so any bonus above 1 acts as 1.
    """
    return count.clamp(min=MIN_COUNT).rsqrt()
