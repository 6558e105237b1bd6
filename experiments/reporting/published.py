"""Published scores to compare with: the method, the game, the protocol and the source of each.

They are the rows of ``results/published.csv``, and those of ``results/atari_100k.csv``, which has
the score of each seed after 100,000 agent steps and the file that it is from. A protocol that the
source does not state is listed as "not stated"; such scores are comparable only roughly.
"""

import csv
import statistics
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ...envs.errors import UsageError
from .committed import RESULTS

PUBLISHED, ATARI_100K = RESULTS / "published.csv", RESULTS / "atari_100k.csv"


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
    rows = [Published(**row | {"score": float(row["score"])}) for row in _rows(PUBLISHED)]  # type: ignore[arg-type]
    for row in _rows(ATARI_100K):
        scores = [float(x) for x in row["scores"].split()]
        source = f"{row['source']}, {len(scores)} seeds"
        mean = statistics.fmean(scores)
        rows.append(Published(row["game"], row["method"], mean, "400k", "Atari 100k", source))
    chosen = [row for row in rows if games is None or row.game in games]
    return sorted(chosen, key=lambda row: (row.game, -row.score))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); it is a part of reverie: install it again."
        ) from error
