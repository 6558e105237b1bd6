"""Estimates from a few runs, with their intervals (Agarwal et al. 2021, "Statistical Precipice").

Scores are grouped in *strata*, one array of runs per game: runs are resampled within a game, games
are not resampled. An array may have leading axes, such as resamples; statistics reduce the last
one.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import stdtrit

from ...envs.atari.games import human_normalized
from ...envs.errors import UsageError

Array = NDArray[np.float64]
Strata = Sequence[Array]
"""Scores [..., runs], one array per game."""
Value = Array | np.float64
Statistic = Callable[[Strata], Value]

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds, which are nan if they cannot be estimated."""

    estimate: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval is on that side of 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def normalized(scores: Mapping[str, Array]) -> dict[str, Array]:
    """Return each game's scores scaled to 0 for random play and 1 for a human.

    The table is ``HUMAN_RANDOM_TABLE``. Raises UsageError for a game that is not in it.
    """
    unknown = [game for game in scores if human_normalized(game, 0.0) is None]
    if unknown:
        raise UsageError(f"There is no human score of {', '.join(unknown)}; compare raw points.")
    return {
        game: np.vectorize(lambda x, game=game: human_normalized(game, x), otypes=[np.float64])(x)
        for game, x in scores.items()
    }


def trailing_mean(x: Array, window: int) -> Array:
    """Return the mean of each value and the ``window - 1`` before it (fewer at first)."""
    sums = np.concatenate([[0.0], x.cumsum()])
    ends = np.arange(1, len(x) + 1)
    begins = np.maximum(ends - window, 0)
    means: Array = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def mean(scores: Strata) -> Value:
    """Return the mean over games of a game's mean over runs."""
    value: Value = np.mean([x.mean(-1) for x in scores], 0)
    return value


def median(scores: Strata) -> Value:
    """Return the median over games of a game's mean over runs."""
    value: Value = np.median([x.mean(-1) for x in scores], 0)
    return value


def interquartile_mean(scores: Strata) -> Value:
    """Return the mean of all runs of all games without the best and the worst quarter.

    A quarter is rounded down to a number of runs.
    """
    runs = np.sort(np.concatenate(list(scores), -1), -1)
    cut = runs.shape[-1] // 4
    value: Value = runs[..., cut : runs.shape[-1] - cut].mean(-1)
    return value


def optimality_gap(scores: Strata) -> Value:
    """Return the mean shortfall from 1 (a human); scores above 1 count as 1."""
    return 1 - mean([np.minimum(x, 1) for x in scores])


AGGREGATES: dict[str, Statistic] = {
    "mean": mean,
    "median": median,
    "IQM": interquartile_mean,
    "optimality gap": optimality_gap,
}


def probability_of_improvement(x: Strata, y: Strata) -> Value:
    """Return the probability that a run of x beats a run of y in the same game.

    A draw counts half. It is the mean over games of the Mann-Whitney U divided by the number of
    pairs.
    """
    signs = [np.sign(a[..., :, None] - b[..., None, :]) for a, b in zip(x, y, strict=True)]
    value: Value = np.mean([(1 + sign.mean((-1, -2))) / 2 for sign in signs], 0)
    return value


def bootstrap(
    statistic: Callable[..., Value],
    *scores: Strata,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return a statistic with its percentile interval from a bootstrap stratified by game.

    A statistic of two sets of strata resamples them independently. With fewer than about five runs
    per game the interval is too narrow; a game with a single run contributes no variance.
    """
    rng = np.random.default_rng(seed)
    samples = [
        [x[rng.integers(len(x), size=(resamples, len(x)))] for x in strata] for strata in scores
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(*samples), [tail, 1 - tail])
    return Interval(float(statistic(*scores)), float(low), float(high))


def paired_differences(
    a: Mapping[tuple[str, Hashable], float], b: Mapping[tuple[str, Hashable], float]
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Return a - b by game, over the (game, seed) keys of both, in the order of a."""
    differences: dict[str, list[float]] = {}
    for game, seed in a:
        if (game, seed) in b:
            differences.setdefault(game, []).append(a[game, seed] - b[game, seed])
    return {game: np.array(values) for game, values in differences.items()}


def mean_difference(differences: Strata, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean over games of the mean paired difference, with its t interval.

    Unlike a bootstrap interval it keeps its coverage with two or three seeds. Each game has its own
    variance, with the degrees of freedom of Welch and Satterthwaite; for one game it is the paired
    t-test. The bounds are nan if a game has a single pair.
    """
    estimate = float(mean(differences))
    if any(len(x) < 2 for x in differences):
        return Interval(estimate, float("nan"), float("nan"))
    errors = np.array([x.var(ddof=1) / len(x) for x in differences])
    if not errors.any():  # all differences of a game are equal: the variance is 0
        return Interval(estimate, estimate, estimate)
    degrees = np.array([len(x) - 1 for x in differences])
    freedom = errors.sum() ** 2 / (errors**2 / degrees).sum()
    margin = float(stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(errors.sum())) / len(errors)
    return Interval(estimate, estimate - margin, estimate + margin)


def format_number(x: float) -> str:
    """Return a score with about three significant digits; an empty string for nan."""
    if math.isnan(x):
        return ""
    digits = 0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2 if abs(x) >= 1 else 3
    return f"{x:,.{digits}f}" if round(x, digits) else "0"


def format_interval(x: Interval, unit: str = "human-normalized") -> str:
    """Return an estimate and its bounds; "(one seed)" instead of bounds that are nan."""
    fmt = format_number if unit == "points" else "{:.3f}".format
    sign = "+" if unit == "points" and x.estimate > 0 else ""
    if math.isnan(x.low):
        return f"{sign}{fmt(x.estimate)} (one seed)"
    return f"{sign}{fmt(x.estimate)} ({fmt(x.low)} to {fmt(x.high)})"


def format_standard_error(scores: list[float]) -> str:
    """Return " ± " and the standard error of the scores' mean; an empty string for one score."""
    if len(scores) < 2:
        return ""
    return f" ± {format_number(float(np.std(scores, ddof=1)) / math.sqrt(len(scores)))}"
