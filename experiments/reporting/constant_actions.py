"""Scores of players that repeat one action: the committed baseline of every Atari score."""

import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...envs.atari.protocol import PRESENTATION_FIELDS
from ..runs.files import read_json
from ..text.formatting import format_number
from .committed import RESULTS


@dataclass(frozen=True)
class ConstantAction:
    """The action whose repetition has the highest mean score in a game under a protocol."""

    action: str
    scores: tuple[float, ...]
    """Game points of each episode."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)


def scoring_rules(label: str) -> str:
    """Return a protocol's label without the settings that change presentation, not scores."""
    name, _, settings = label.partition(" with ")
    kept = [x for x in settings.split(", ") if x and x.split()[0] not in PRESENTATION_FIELDS]
    return f"{name} with {', '.join(kept)}" if kept else name


def best_constant_action(game: str, protocol: str) -> ConstantAction | None:
    """Return the best constant action of an Atari game; None if it was not measured.

    ``protocol`` is a label; protocols of equal scoring rules have the same one.
    """
    for row in _committed(RESULTS / "constant-actions.json"):
        if (row["env_name"], row["protocol"]) == (game, scoring_rules(protocol)):
            return ConstantAction(row["action"], tuple(row["scores"]))
    return None


def format_constant_action(game: str, protocol: str) -> str:
    """Return the mean and the name of the best constant action; an empty string for none."""
    best = best_constant_action(game, protocol)
    return f"{format_number(best.mean)} ({best.action})" if best else ""


@cache
def _committed(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    return rows
