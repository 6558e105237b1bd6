"""Published scores to compare with: the method, the game, the protocol and the source of each.

They are the rows of ``results/published.csv``. A protocol that the source does not state is listed
as "not stated"; such scores are comparable only roughly.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass

from ...envs.errors import UsageError
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
    try:
        lines = PUBLISHED.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"{PUBLISHED} cannot be read ({error.strerror}); it is a part of reverie: install it "
            "again."
        ) from error
    rows = [Published(**row | {"score": float(row["score"])}) for row in csv.DictReader(lines)]  # type: ignore[arg-type]
    chosen = [row for row in rows if games is None or row.game in games]
    return sorted(chosen, key=lambda row: (row.game, -row.score))
