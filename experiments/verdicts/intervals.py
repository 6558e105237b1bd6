"""Estimates from a few runs, with their intervals (Agarwal et al. 2021, "Statistical Precipice").

Scores are grouped in *strata*, one array of runs per game: runs are resampled within a game, games
are not resampled. An array may have leading axes, such as resamples; statistics reduce the last
one.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.atari.games import human_normalized
from ..text.formatting import format_number, with_error

Array = NDArray[np.float64]
Strata = Sequence[Array]
"""Scores [..., runs], one array per game."""
Key = tuple[str, int]
"""The env name and the seed of a run."""
Value = Any
"""A number, or an array of one for each resample."""

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_RUNS = 3
"""Runs of an env below which there is neither an interval nor an error."""
ROUNDING = 1e-9
"""Difference, as a share of numbers above 1, up to which two are equal but for rounding."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds, which are nan if they cannot be estimated."""

    estimate: float
    low: float = math.nan
    high: float = math.nan
    missing: str = ""
    """Why there are no bounds."""


def by_env(scores: Mapping[Key, float]) -> dict[str, Array]:
    """Return the scores of each env."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for (env_name, _), score in scores.items():
        grouped[env_name].append(score)
    return {env_name: np.array(values) for env_name, values in grouped.items()}


def normalized(scores: Mapping[Key, float], games: Mapping[str, str]) -> dict[Key, float]:
    """Return scores scaled to 0 for random play and 1 for a human, without unlisted envs.

    ``games`` names the Atari game of each env that is one; the table is ``HUMAN_RANDOM_TABLE``.
    """
    scaled = {
        key: human_normalized(games[key[0]], score)
        for key, score in scores.items()
        if key[0] in games
    }
    return {key: score for key, score in scaled.items() if score is not None}


def trailing_mean(x: Array, window: int) -> Array:
    """Return the mean of each value and the ``window - 1`` before it (fewer at first)."""
    sums = np.concatenate([[0.0], x.cumsum()])
    ends = np.arange(1, len(x) + 1)
    begins = np.maximum(ends - window, 0)
    means: Array = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def mean(scores: Strata) -> Value:
    """Return the mean over games of a game's mean over runs."""
    return np.mean([x.mean(-1) for x in scores], 0)


def median(scores: Strata) -> Value:
    """Return the median over games of a game's mean over runs."""
    return np.median([x.mean(-1) for x in scores], 0)


def interquartile_mean(scores: Strata) -> Value:
    """Return the mean of all runs of all games without the best and the worst quarter.

    A quarter is rounded down to a number of runs.
    """
    runs = np.sort(np.concatenate(list(scores), -1), -1)
    cut = runs.shape[-1] // 4
    return runs[..., cut : runs.shape[-1] - cut].mean(-1)


def optimality_gap(scores: Strata) -> Value:
    """Return the mean shortfall from 1 (a human); scores above 1 count as 1."""
    return 1 - mean([np.minimum(x, 1) for x in scores])


AGGREGATES: dict[str, Callable[[Strata], Value]] = {
    "mean": mean,
    "median": median,
    "IQM": interquartile_mean,
    "optimality gap": optimality_gap,
}


def performance_profile(scores: Strata, thresholds: Array) -> Array:
    """Return the share of runs above each threshold, as a mean over games."""
    shares = [(x[:, None] > thresholds).mean(0) for x in scores]
    return np.asarray(np.mean(shares, 0))


def probability_of_improvement(x: Strata, y: Strata) -> Value:
    """Return the probability that a run of x beats a run of y in the same game.

    A draw counts half. It is the mean over games of the Mann-Whitney U divided by the number of
    pairs.
    """
    signs = [np.sign(a[..., :, None] - b[..., None, :]) for a, b in zip(x, y, strict=True)]
    return np.mean([(1 + sign.mean((-1, -2))) / 2 for sign in signs], 0)


def bootstrap(
    statistic: Callable[..., Value],
    *scores: Strata,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return a statistic with its percentile interval from a bootstrap stratified by game.

    A statistic of two sets of strata resamples them independently. With fewer than about five runs
    per game the interval is too narrow; a game with equal runs contributes no variance. There are
    no bounds if a game has fewer than ``MIN_RUNS`` runs, if a score is not finite, or if the bounds
    are equal.
    """
    with np.errstate(invalid="ignore"):
        estimate = float(statistic(*scores))
    if missing := _too_few_or_not_finite(scores):
        return Interval(estimate, missing=missing)
    rng = np.random.default_rng(seed)
    samples = [
        [x[rng.integers(len(x), size=(resamples, len(x)))] for x in strata] for strata in scores
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(*samples), [tail, 1 - tail])
    if constant([low, high]):
        return Interval(estimate, missing="no variance")
    return Interval(estimate, float(low), float(high))


def constant(x: Array | Sequence[float]) -> bool:
    """Return whether all values are equal but for the rounding of floating-point numbers."""
    largest = float(np.abs(x).max())
    return math.isfinite(largest) and float(np.ptp(x)) <= ROUNDING * max(1.0, largest)


def _too_few_or_not_finite(scores: Sequence[Strata]) -> str:
    """Return why an interval cannot be estimated, or an empty string."""
    every = [x for strata in scores for x in strata]
    if not all(np.isfinite(x).all() for x in every):
        return "a score is not finite"
    fewest, several = min(map(len, every)), len(scores[0]) > 1
    return f"n = {fewest}{' in an env' * several}" if fewest < MIN_RUNS else ""


def format_interval(x: Interval, unit: str = "human-normalized") -> str:
    """Return an estimate and its bounds, or why it has none."""
    fmt = format_number if unit == "points" else "{:.3f}".format
    sign = "+" if unit == "points" and x.estimate > 0 else ""
    bounds = f"no interval: {x.missing}" if x.missing else f"{fmt(x.low)} to {fmt(x.high)}"
    return f"{sign}{fmt(x.estimate)} ({bounds})"


def format_count(number: float) -> str:
    """Return a number of steps with four digits: in millions, in thousands, or as it is."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            return f"{number / unit:.4g}{letter}"
    return f"{number:g}"


def standard_error(scores: Sequence[float]) -> float | None:
    """Return the standard error of the mean.

    It is None for fewer than ``MIN_RUNS`` scores, equal ones, or ones that are not finite.
    """
    if len(scores) < MIN_RUNS or not np.isfinite(scores).all() or constant(scores):
        return None
    return float(np.std(scores, ddof=1)) / math.sqrt(len(scores))


def format_mean(scores: Sequence[float], noun: str = "seed") -> str:
    """Return the mean, its standard error if there is one, and the number of scores."""
    text = with_error(float(np.mean(scores)), standard_error(scores))
    equal = ", equal" if len(scores) > 1 and constant(scores) else ""
    return f"{text} ({len(scores)} {noun}{'s' * (len(scores) != 1)}{equal})"
