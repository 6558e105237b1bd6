"""Tests whose p-values stay valid however often, and by whatever rule, the seeds are analyzed.

A family of group-sequential tests spends a level alpha over the analyses (Lan & DeMets 1983): up
to the fraction t of the largest number of seeds it has spent ``alpha * t ** RHO``, the power family
of Kim & DeMets (1987). The boundary of each analysis is that of Brownian motion, by the recursion
of Armitage, McPherson & Rowe (1969). It is applied to the p-value of the t test of that analysis
alone (the significance-level approach, Pocock 1977). The *sequential p-value* is the least alpha at
which a boundary has been crossed so far.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .intervals import Array

RHO = 2.0
"""Exponent of the spending function; see ``reverie reproduce verdict-errors``."""
ALPHAS = np.geomspace(1e-12, 0.5, 48)
"""One-sided levels for which boundaries are computed; those between are interpolated."""
NODES = 80
"""Nodes of the quadrature over Brownian motion; more change no boundary by 0.1%."""


def nominal_level(alpha: float, analyses: tuple[int, ...]) -> Array:
    """Return the one-sided level of the test at each analysis whose levels together cost alpha."""
    if len(analyses) == 1:
        return np.array([alpha])
    levels = _nominal_levels(analyses)
    return np.array([np.exp(np.interp(np.log(alpha), np.log(ALPHAS), x)) for x in levels])


def sequential_p(p: Array, analyses: tuple[int, ...]) -> Array:
    """Return the sequential one-sided p-value at each analysis.

    ``p`` [..., k] has the p-value of each of the first k analyses alone; the result has its shape
    and never increases along the last axis. One above a half counts as 1.
    """
    if len(analyses) == 1:
        return p
    with np.errstate(divide="ignore"):
        logs = [
            np.interp(np.log(p[..., i]), levels, np.log(ALPHAS), right=0.0)
            for i, levels in enumerate(_nominal_levels(analyses)[: p.shape[-1]])
        ]
    return np.minimum.accumulate(np.exp(np.stack(logs, -1)), -1)


@cache
def _nominal_levels(analyses: tuple[int, ...], rho: float = RHO) -> NDArray[np.float64]:
    """Return the logarithm of each analysis' one-sided level for each of ``ALPHAS`` [k, alphas]."""
    times = np.array(analyses) / analyses[-1]
    spent = ALPHAS * np.diff(times**rho, prepend=0.0)[:, None]  # [k, alphas]
    unit, weights = np.polynomial.legendre.leggauss(NODES)
    # Brownian motion below the boundary: its values at the nodes and the mass of each.
    values, mass, before = np.zeros((len(ALPHAS), 1)), np.ones((len(ALPHAS), 1)), 0.0
    levels = []
    for time, level in zip(times, spent, strict=True):
        deviation = np.sqrt(time - before)

        def crossing(bound: Array, values: Array = values, mass: Array = mass,
                     deviation: float = deviation) -> Array:  # fmt: skip
            return (mass * ndtr((values - bound[:, None]) / deviation)).sum(1)

        low, high = np.full(len(ALPHAS), -9.0), np.full(len(ALPHAS), 9.0)
        for _ in range(60):
            middle = (low + high) / 2
            above = crossing(middle) > level
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        bound, floor = (low + high) / 2, -8 * np.sqrt(time)
        levels.append(np.log(ndtr(-bound / np.sqrt(time))))
        nodes = floor + (bound - floor)[:, None] * (unit + 1) / 2
        steps = (nodes[:, :, None] - values[:, None, :]) / deviation
        density = (mass[:, None, :] * np.exp(-(steps**2) / 2)).sum(2) / deviation
        mass = density * (bound - floor)[:, None] * weights / 2 / np.sqrt(2 * np.pi)
        values, before = nodes, time
    return np.maximum.accumulate(np.array(levels), 1)
