"""What scores of a few runs say, and how surely (Agarwal et al. 2021, "Statistical Precipice").

Scores stand in *strata*, one array of runs a game: runs vary within a game, games are not drawn
from anything. An array may have leading axes, such as resamples; statistics reduce the last one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import stdtrit

from envs.errors import UsageError
from envs.games import HUMAN_RANDOM_TABLE as HUMAN_RANDOM_TABLE
from envs.games import human_normalised

Array = NDArray[np.float64]
Strata = Sequence[Array]
"""Scores [..., runs], an array a game."""
Value = Array | np.float64
Statistic = Callable[[Strata], Value]

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate between its bounds; ``nan`` bounds where nothing bounds it."""

    estimate: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where all of the interval lies on that side of 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def normalised(scores: Mapping[str, Array]) -> dict[str, Array]:
    """Each game's scores with 0 as random play and 1 as a human (``HUMAN_RANDOM_TABLE``).

    Raises UsageError for a game that has no such numbers.
    """
    unknown = [game for game in scores if human_normalised(game, 0.0) is None]
    if unknown:
        raise UsageError(f"There is no human score of {', '.join(unknown)}; compare raw points.")
    return {
        game: np.vectorize(lambda x, game=game: human_normalised(game, x), otypes=[np.float64])(x)
        for game, x in scores.items()
    }


def trailing_mean(x: Array, window: int) -> Array:
    """Of each value and those before it, ``window`` in all (fewer at first)."""
    sums = np.concatenate([[0.0], x.cumsum()])
    ends = np.arange(1, len(x) + 1)
    begins = np.maximum(ends - window, 0)
    averaged: Array = (sums[ends] - sums[begins]) / (ends - begins)
    return averaged


def mean(scores: Strata) -> Value:
    """Mean over games of a game's mean over runs."""
    averaged: Value = np.mean([x.mean(-1) for x in scores], 0)
    return averaged


def median(scores: Strata) -> Value:
    """Median over games of a game's mean over runs."""
    middle: Value = np.median([x.mean(-1) for x in scores], 0)
    return middle


def interquartile_mean(scores: Strata) -> Value:
    """Mean of all runs of all games without the best and the worst quarter, rounded down."""
    runs = np.sort(np.concatenate(list(scores), -1), -1)
    cut = runs.shape[-1] // 4
    kept: Value = runs[..., cut : runs.shape[-1] - cut].mean(-1)
    return kept


def optimality_gap(scores: Strata) -> Value:
    """How far runs fall short of 1 (a human), where what lies beyond 1 counts as 1."""
    return 1 - mean([np.minimum(x, 1) for x in scores])


AGGREGATES: dict[str, Statistic] = {
    "mean": mean,
    "median": median,
    "IQM": interquartile_mean,
    "optimality gap": optimality_gap,
}


def probability_of_improvement(x: Strata, y: Strata) -> Value:
    """How often a run of x beats one of y in the same game, a draw counting half; mean over games.

    The Mann-Whitney U of each game over the number of its pairs.
    """
    wins = [np.sign(a[..., :, None] - b[..., None, :]) for a, b in zip(x, y, strict=True)]
    won: Value = np.mean([(1 + sign.mean((-1, -2))) / 2 for sign in wins], 0)
    return won


def bootstrap(
    statistic: Callable[..., Value],
    *scores: Strata,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of a statistic when runs are drawn anew, with replacement, in each game.

    A statistic of two sets of strata draws them independently. With fewer than about five runs a
    game such intervals are too narrow; where a game has one run, its luck is not in them at all.
    """
    chance = np.random.default_rng(seed)
    drawn = [
        [x[chance.integers(len(x), size=(resamples, len(x)))] for x in strata] for strata in scores
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(*drawn), [tail, 1 - tail])
    return Interval(float(statistic(*scores)), float(low), float(high))


def paired_differences(
    a: Mapping[tuple[str, Hashable], float], b: Mapping[tuple[str, Hashable], float]
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """a - b by game, over the (game, seed) that both have, in the order of a."""
    found: dict[str, list[float]] = {}
    for game, seed in a:
        if (game, seed) in b:
            found.setdefault(game, []).append(a[game, seed] - b[game, seed])
    return {game: np.array(values) for game, values in found.items()}


def mean_difference(differences: Strata, confidence: float = CONFIDENCE) -> Interval:
    """Mean over games of the mean paired difference, with its t interval.

    Unlike a bootstrap it is honest about two or three seeds. Each game has a variance of its own,
    and the degrees of freedom are Welch and Satterthwaite's; for one game it is the paired t-test.
    The bounds are nan where a game has a single pair.
    """
    estimate = float(mean(differences))
    if any(len(x) < 2 for x in differences):
        return Interval(estimate, float("nan"), float("nan"))
    errors = np.array([x.var(ddof=1) / len(x) for x in differences])
    if not errors.any():  # equal differences: no spread is left to be uncertain about
        return Interval(estimate, estimate, estimate)
    free = np.array([len(x) - 1 for x in differences])
    freedom = errors.sum() ** 2 / (errors**2 / free).sum()
    reach = float(stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(errors.sum())) / len(errors)
    return Interval(estimate, estimate - reach, estimate + reach)
