"""Published scores to compare with: the method, the game, the protocol and the source of each.

They are the rows of ``results/published.csv``. A protocol that the source does not state is listed
as "not stated"; such scores are comparable only roughly.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass

from .committed import RESULTS

PUBLISHED = RESULTS / "published.csv"


@dataclass(frozen=True)
class Published:
    """One published score of a method in a game."""

    game: str
    method: str
    score: float
    frames: str
    protocol: str
    source: str


def published(games: Collection[str] | None = None) -> list[Published]:
    """Return the published scores in these games (default all), by game, best first."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = [Published(**row | {"score": float(row["score"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    chosen = [row for row in rows if games is None or row.game in games]
    return sorted(chosen, key=lambda row: (row.game, -row.score))
