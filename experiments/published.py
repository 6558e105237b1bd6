"""Published results to stand beside one's own: what was scored, under what, and where it says so.

They are data, ``results/published.csv``, read in the source that stands beside them. A protocol
that a source does not state stands there as not stated: such numbers compare in kind alone.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

PUBLISHED = Path(__file__).parent / "results" / "published.csv"


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
    """The published scores in these games, or all; by game, best first."""
    with PUBLISHED.open(newline="") as file:
        rows = [Published(**row | {"score": float(row["score"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    chosen = [row for row in rows if games is None or row.game in games]
    return sorted(chosen, key=lambda row: (row.game, -row.score))
