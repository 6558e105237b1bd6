"""Denoising diffusion in the formulation of EDM.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models". A network F
learns to remove Gaussian noise n of standard deviation s from data x (eq. 7):

    D(y; s) = c_skip y + c_out F(c_in y; c_noise),    y = x + s n

    c_skip = d^2 / (s^2 + d^2)        c_in    = 1 / sqrt(s^2 + d^2)
    c_out  = s d / sqrt(s^2 + d^2)    c_noise = log(s) / 4

For data of standard deviation d both the input of F and its target have unit variance. The loss is
|F - (x - c_skip y) / c_out|^2, with log s normal. Data are drawn by steps on the differential
equation dx/ds = (x - D(x; s)) / s, from noise of the greatest level to none.
"""

from collections.abc import Callable
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 2e-3, 5.0, 7
"""Of the noise levels in sampling; SIGMA_MAX is DIAMOND's."""


def preconditioning(
    sigma: Float[Tensor, " B"], sigma_data: float
) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
    """Return c_skip, c_out and c_in of noise levels (table 1)."""
    sigma = sigma[:, None, None, None]
    total = sigma.square() + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt()


def effective_target(
    frame: Float[Tensor, "B C H W"],
    noisy: Float[Tensor, "B C H W"],
    sigma: Float[Tensor, " B"],
    sigma_data: float,
) -> Float[Tensor, "B C H W"]:
    """Return what F should be for D to be the frame: (x - c_skip y) / c_out (eq. 8)."""
    c_skip, c_out, _ = preconditioning(sigma, sigma_data)
    return (frame - c_skip * noisy) / c_out


def karras_sigmas(steps: int) -> list[float]:
    """Return ``steps`` falling noise levels, even in their 7th root, and 0 (eq. 5)."""
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    levels = [(high + i / max(1, steps - 1) * (low - high)) ** RHO for i in range(steps)]
    return [*levels, 0.0]


def euler_sample(
    denoise: Callable[[Tensor, Tensor], Tensor], noise: Float[Tensor, "B ..."], sigmas: list[float]
) -> Float[Tensor, "B ..."]:
    """Sample by Euler steps on dx/ds = (x - D(x; s)) / s over falling levels s.

    ``noise`` is N(0, 1). A step to level 0 returns D.
    """
    x = sigmas[0] * noise
    for sigma, lower in pairwise(sigmas):
        denoised = denoise(x, x.new_full((len(x),), sigma))
        x = denoised + lower / sigma * (x - denoised)
    return x
