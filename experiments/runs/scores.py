"""Scores of an evaluation, and their JSON files in a run folder."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...envs.atari.games import HUMAN_RANDOM_TABLE, human_normalized
from ...envs.errors import UsageError


@dataclass(frozen=True)
class Scores:
    """Raw scores of whole episodes, with the protocol that fixes their meaning."""

    env_name: str
    protocol: str
    epsilon: float
    seed: int
    distinct_starts: int
    scores: list[float]
    """Game points of each episode."""
    lengths: list[int]
    """Agent steps of each episode."""
    stochastic: bool = False
    """Whether the agent acted as in training, instead of greedily with the protocol's epsilon."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean over episodes; None for one episode."""
        if len(self.scores) < 2:
            return None
        return statistics.stdev(self.scores) / math.sqrt(len(self.scores))

    def summary(self) -> dict[str, Any]:
        """Return all fields and their summary statistics."""
        normalized = human_normalized(self.env_name, self.mean)
        return {
            "mean": self.mean,
            "median": statistics.median(self.scores),
            "standard_error": self.standard_error,
            "min": min(self.scores),
            "max": max(self.scores),
            "episodes": len(self.scores),
            "human_normalized": normalized,
            "human_random_table": HUMAN_RANDOM_TABLE if normalized is not None else None,
            **asdict(self),
        }

    def __str__(self) -> str:
        s = self.summary()
        error = "" if self.standard_error is None else f" ± {self.standard_error:,.1f} (s.e.)"
        lines = [
            f"{self.env_name}: mean {self.mean:,.1f}{error}  median {s['median']:,.1f}  "
            f"min {s['min']:,.1f}  max {s['max']:,.1f}  "
            f"over {_plural(len(self.scores), 'episode')} "
            f"from {_plural(self.distinct_starts, 'distinct start')}",
            f"  protocol {conditions(s)}, epsilon {self.epsilon:g}, evaluation seed {self.seed}",
        ]
        if s["human_normalized"] is not None:
            lines.append(
                f"  human-normalized {s['human_normalized']:.3f} (0 random, 1 human; "
                f"table: {HUMAN_RANDOM_TABLE})"
            )
        return "\n".join(lines)


def scores_file(protocol: str = "", stochastic: bool = False) -> str:
    """Return the file name of a run's scores; an empty protocol is the run's own."""
    return "-".join(["scores", *filter(None, [protocol, "stochastic" * stochastic])]) + ".json"


def conditions(scores: Mapping[str, Any]) -> str:
    """Return the protocol of a summary and how its agents acted: scores are compared within it."""
    return str(scores["protocol"]) + ", as in training" * bool(scores.get("stochastic"))


def evaluate_command(stochastic: bool) -> str:
    """Return the command that produces scores."""
    return "reverie evaluate" + " --stochastic" * stochastic


def read_scores(path: Path) -> dict[str, Any]:
    """Read the summary that an evaluation wrote.

    Raises UsageError if a field is missing or of a wrong type, or a score is not finite.
    """
    scores = read_json_object(path)
    remedy = f"`{evaluate_command('stochastic' in path.stem)} {path.parent}` writes it again"
    kinds: dict[str, Any] = {
        "env_name": str,
        "protocol": str,
        "epsilon": int | float,
        "mean": int | float,
    }
    kinds |= {"steps": int, "scores": list, "lengths": list}
    for name, kind in kinds.items():
        if not isinstance(scores.get(name), kind):
            raise UsageError(f"{path} has no {name}; {remedy}.")
    if not scores["scores"] or len(scores["scores"]) != len(scores["lengths"]):
        raise UsageError(f"{path} holds no episode, or an incomplete one; {remedy}.")
    for value in (scores["mean"], *scores["scores"]):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{path} has the score {value}, which is no number; {remedy}.")
    mean = statistics.fmean(scores["scores"])
    if not math.isclose(mean, scores["mean"], rel_tol=1e-9, abs_tol=1e-9):
        raise UsageError(f"{path} has a mean that is not that of its scores; {remedy}.")
    return scores


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises UsageError if the file cannot be read or holds something else."""
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no object.")
    return data


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
