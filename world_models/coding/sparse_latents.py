"""Latents of a standard normal prior on a grid, most of them 0, as symbols of an entropy coder.

The grid has 2^bits places n in a standard deviation of the prior, which gives each the mass g(n)
around it. A model leaves most latents at the mean of their prior, which g does not predict. The
discretized prior is therefore mixed with 0:

    P(0) = (z + g(0)) / (s + 1),    P(n) = (1 - P(0)) g(n) / (1 - g(0))

where z of s latents were 0 among those of the map that are coded already and have equal context:
whether the places to the left and above are 0, and the same place of the map before.

A latent is not rounded to the nearest place but to the one that minimizes

    beta x (nats of n) - log q(place n)

for its Gaussian posterior q, so that a latent about which the posterior does not care becomes 0
(Yang et al. 2020, "Variational Bayesian Quantization", section 3.3).
"""

import math
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from ..machine_code import compiled
from . import rans

TOP = 127
"""Largest absolute number of a place; the outermost ones take the tails."""
CONTEXTS = 6


def discretized_normal(bits: int) -> tuple[float, NDArray[np.uint64], NDArray[np.float64]]:
    """Return the mass of the prior at 0, and the cumulative frequencies and nats of the others.

    Those of place n are at n + TOP.
    """
    ends = [math.erf((n + 0.5) / 2**bits / math.sqrt(2)) for n in range(-TOP - 1, TOP + 1)]
    ends[0], ends[-1] = -1.0, 1.0  # the tails
    mass = np.diff(np.array(ends)) / 2
    zero = float(mass[TOP])
    mass[TOP] = 0
    mass = np.maximum(mass / mass.sum(), 2.0**-rans.PRECISION)
    table = np.empty(len(mass) + 1, np.uint64)
    rans.tabulate(mass / mass.sum(), table)
    return zero, table, -np.log(mass)


@compiled(error_model="numpy")
@no_type_check
def write_plane(mean, std, beta, before, zero, table, nats, plane, intervals):
    """Choose the places of a map, [N R C], and write their intervals; return their number.

    ``mean`` and ``std`` are the posterior's, in units of the grid; ``before`` is the map before,
    and ``zero``, ``table`` and ``nats`` are those of ``discretized_normal``.
    """
    seen = np.zeros((CONTEXTS, 2))
    flag = np.empty(3, np.uint64)
    count = 0
    for n in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            for j in range(plane.shape[2]):
                context = _context(plane, before, n, i, j)
                p = (seen[context, 0] + zero) / (seen[context, 1] + 1)
                exact = abs(mean[n, i, j])
                sign = 1 if mean[n, i, j] > 0 else -1
                sharpness = 0.5 / std[n, i, j] ** 2
                best = 0
                least = sharpness * exact**2 - beta * np.log(p)
                for size in range(1, min(int(exact + 0.5), TOP) + 1):
                    bits = nats[sign * size + TOP] - np.log(1 - p)
                    cost = sharpness * (exact - size) ** 2 + beta * bits
                    if cost < least:
                        best, least = sign * size, cost
                plane[n, i, j] = best
                _flag(p, flag)
                rans.write_interval(flag, int(best != 0), intervals[count])
                count += 1
                if best != 0:
                    rans.write_interval(table, best + TOP, intervals[count])
                    count += 1
                seen[context, 0] += best == 0
                seen[context, 1] += 1
    return count


@compiled(error_model="numpy")
@no_type_check
def pop_plane(before, zero, table, plane, words, head):
    """Pop the places of a map into ``plane``, which is zeros, until the words have ended."""
    seen = np.zeros((CONTEXTS, 2))
    flag = np.empty(3, np.uint64)
    for n in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            for j in range(plane.shape[2]):
                context = _context(plane, before, n, i, j)
                _flag((seen[context, 0] + zero) / (seen[context, 1] + 1), flag)
                is_zero = rans.pop(words, head, flag) == 0
                if not is_zero:
                    plane[n, i, j] = rans.pop(words, head, table) - TOP
                if head[0] < rans.LOWEST:
                    return
                seen[context, 0] += is_zero
                seen[context, 1] += 1


@compiled(error_model="numpy")
@no_type_check
def _flag(p, table):
    """Write the cumulative frequencies of whether a place is other than 0."""
    probs = np.array([p, 1 - p])
    rans.tabulate(probs, table)


@compiled(error_model="numpy")
@no_type_check
def _context(plane, before, n, i, j):
    """Return how many of three places before this one are not 0, by kind."""
    left = j > 0 and plane[n, i, j - 1] != 0
    above = i > 0 and plane[n, i - 1, j] != 0
    return int(left) + int(above) + 3 * int(before[n, i, j] != 0)
