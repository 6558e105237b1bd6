"""Estimates of the median of 57 Atari games from five or three of them (Aitchison et al. 2022).

The logarithm of the median human-normalized score is a weighted sum of those of the games. The
weights are fitted here, by least squares without an intercept, to the published scores of
``results/atari_algorithms.csv`` (from https://github.com/maitchison/Atari-5, MIT license), because
that repository holds the scores and not the weights.
"""

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..verdicts.intervals import Array, Strata, Value
from .committed import RESULTS

SUBSETS: dict[str, tuple[str, ...]] = {
    "Atari-5": ("battle_zone", "double_dunk", "name_this_game", "phoenix", "qbert"),
    "Atari-3": ("battle_zone", "name_this_game", "phoenix"),
}
"""The games of each subset."""


@dataclass(frozen=True)
class Subset:
    """A fitted subset."""

    games: tuple[str, ...]
    weights: tuple[float, ...]
    """Of the logarithmic score of each game."""
    error: float
    """Mean absolute relative error of the median of an algorithm that is left out of the fit."""

    def median(self, scores: Strata) -> Value:
        """Return the median of 57 games, from human-normalized scores of each of the games."""
        logs = _log(np.stack([x.mean(-1) for x in scores], -1))
        return (10 ** (logs @ np.array(self.weights)) - 1) / 100


@cache
def fit_subset(name: str) -> Subset:
    """Fit the weights of a subset, and leave out each algorithm once for its error."""
    text = (RESULTS / "atari_algorithms.csv").read_text(encoding="utf-8")
    rows, games = list(csv.DictReader(text.splitlines())), SUBSETS[name]
    x = _log(np.array([[float(row[game]) for game in games] for row in rows]))
    medians = np.array([float(row["median"]) for row in rows])
    errors = []
    for i in range(len(rows)):
        others = np.arange(len(rows)) != i
        predicted = _exp(x[i : i + 1] @ _weights(x[others], medians[others]))
        errors.append(abs(predicted[0] / medians[i] - 1))
    return Subset(games, tuple(_weights(x, medians).tolist()), float(np.mean(errors)))


def _weights(x: Array, medians: Array) -> Array:
    return np.asarray(np.linalg.lstsq(x, _log(medians), rcond=None)[0])


def _log(scores: Array) -> Array:
    """Return the paper's logarithm of human-normalized scores, where 1 is a human."""
    return np.asarray(np.log10(1 + 100 * np.maximum(scores, 0)))


def _exp(logs: Array) -> Array:
    return np.asarray((10**logs - 1) / 100)
