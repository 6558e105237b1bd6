"""The effects that a design can tell, and the seeds that an effect takes.

Effects are differences of means in standard deviations of the paired differences, which are taken
to be normal. One analysis is computed from the noncentral t distribution, several from a fixed
set of simulated paths.
"""

import math
from functools import cache

import numpy as np
from scipy.special import nctdtr, nctdtrinc, stdtrit

from .intervals import MIN_RUNS, Array
from .sequential import nominal_level, normal_paths

PATHS = 20_000
"""Simulated paths of a sequential design; an error of the power below one hundredth."""
MAX_PAIRS = 100_000
"""Pairs beyond which no number of seeds is named."""


def smallest_effect(analyses: tuple[int, ...], reached: int, level: float, power: float) -> float:
    """Return the effect that the first ``reached`` analyses tell with this power.

    ``level`` is the one-sided level of the whole design. The effect is infinite if no analysis has
    three pairs or more.
    """
    if reached == 0 or analyses[reached - 1] < MIN_RUNS:
        return np.inf
    if len(analyses) == 1:
        n = analyses[0]
        bound = -stdtrit(n - 1, level)
        return float(nctdtrinc(n - 1, 1 - power, bound) / np.sqrt(n))
    return float(np.quantile(_least_effects(analyses, level)[:, reached - 1], power))


def seeds_needed(
    analyses: tuple[int, ...], effect: float, level: float, power: float
) -> int | None:
    """Return the pairs after which an effect is told with this power.

    It is an analysis of the design if one of them reaches the power, otherwise the size of a
    design with one analysis; None above ``MAX_PAIRS``.
    """
    if len(analyses) > 1:
        powers = (_least_effects(analyses, level) <= abs(effect)).mean(0)
        for n, reached in zip(analyses, powers, strict=True):
            if reached >= power:
                return n

    def tells(n: int) -> bool:
        bound = -stdtrit(n - 1, level)
        return bool(nctdtr(n - 1, abs(effect) * np.sqrt(n), bound) <= 1 - power)

    low, high = MIN_RUNS - 1, MAX_PAIRS + 1
    if not abs(effect) * np.sqrt(high) > 1e-9 or not tells(MAX_PAIRS):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tells(middle) else (middle, high)
    return high


def signs_needed(analyses: tuple[int, ...], level: float) -> int:
    """Return the pairs after which a sign test tells a difference that all of them show.

    ``level`` is one-sided. It is an analysis of the design if one is enough.
    """
    levels = nominal_level(level, analyses).tolist() if len(analyses) > 1 else []
    enough = [n for n, x in zip(analyses, levels, strict=False) if 0.5**n <= x]
    return enough[0] if enough else math.ceil(-math.log2(level))


@cache
def _least_effects(analyses: tuple[int, ...], level: float) -> Array:
    """Return the least effect of which each path tells by each analysis [paths, analyses].

    An effect moves the mean of a path and leaves its variance, so that a path crosses the upper
    boundary exactly if the effect is at least the boundary's distance from its mean.
    """
    means, errors = normal_paths(analyses, PATHS)
    levels = nominal_level(level, analyses)
    bounds = -stdtrit(np.maximum(np.array(analyses) - 1, 1), levels)
    margins = np.where(np.array(analyses) < MIN_RUNS, np.inf, bounds * errors)
    distances: Array = np.minimum.accumulate(margins - means, 1)
    return distances
