"""Scores of an evaluation, and their JSON files in a run folder."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from ...envs.atari.games import HUMAN_RANDOM_TABLE, human_normalized
from ...envs.atari.protocol import PROTOCOLS
from ...envs.errors import UsageError
from ..text.formatting import format_number, with_error
from .files import read_json
from .jsonl import is_number


@dataclass(frozen=True)
class Scores:
    """Raw scores of whole episodes, with the protocol that fixes their meaning."""

    env_name: str
    protocol: str
    epsilon: float
    seed: int
    distinct_starts: int
    scores: tuple[float, ...]
    """Game points of each episode."""
    lengths: tuple[int, ...]
    """Agent steps of each episode."""
    stochastic: bool = False
    """Whether the agent acted as in training, instead of greedily with the protocol's epsilon."""
    steps: int = 0
    """Agent steps of the evaluated checkpoint; 0 for a policy without one."""
    commit: str | None = None
    """Commit of the code that evaluated it, if it is known."""
    truncated: tuple[bool, ...] = ()
    """Whether each episode was cut off, by its env's time limit or after ``max_steps``; empty if it
    is not known."""
    max_steps: int = 0
    """Agent steps after which the evaluation cut off an episode; 0 if it is not known."""
    modified: bool | None = None
    """Whether files of that commit were modified, if it is known."""
    package_version: str | None = None
    package_hash: str | None = None
    """SHA-256 of the files of the code that evaluated it."""
    suite: str = ""
    """The env's suite, such as atari; a game of Atari is known by it, not by its name alone."""
    resumes: tuple[str, ...] = ()
    """How and where training was continued other than exactly; a file lacks it if it was not."""

    @property
    def episodes(self) -> int:
        return len(self.scores)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def median(self) -> float:
        return statistics.median(self.scores)

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean over episodes; None for fewer than three, or equal scores."""
        if self.episodes < 3 or len(set(self.scores)) == 1:
            return None
        return statistics.stdev(self.scores) / math.sqrt(self.episodes)

    @property
    def num_capped(self) -> int:
        """The number of truncated episodes with at least ``max_steps``."""
        pairs = zip(self.truncated, self.lengths, strict=False)
        return sum(cut and length >= self.max_steps > 0 for cut, length in pairs)

    @property
    def human_normalized(self) -> float | None:
        """The mean scaled to 0 for random play and 1 for a human; None for an unlisted env."""
        return human_normalized(self.game, self.mean)

    @property
    def game(self) -> str:
        """Name of the Atari game; empty for an env of another suite, whatever its name."""
        return self.env_name if self.suite == "atari" else ""

    @property
    def conditions(self) -> str:
        """The protocol and how the agent acted: scores are compared if these are equal."""
        return self.protocol + ", as in training" * self.stochastic

    def to_json(self) -> dict[str, Any]:
        """Return all fields and, for other readers, the summary statistics beside them."""
        return {
            "mean": self.mean,
            "median": self.median,
            "standard_error": self.standard_error,
            "min": min(self.scores),
            "max": max(self.scores),
            "episodes": self.episodes,
            "human_normalized": self.human_normalized,
            "human_random_table": HUMAN_RANDOM_TABLE if self.human_normalized is not None else None,
            **{x: y for x, y in asdict(self).items() if y or x != "resumes"},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Scores":
        """Invert ``to_json``; raises ValueError, which names the field, for unusable data."""
        data = {"suite": suite_of_label(data.get("protocol"))} | dict(data)
        values: dict[str, Any] = {}
        kinds, defaults = get_type_hints(cls), {x.name: x.default for x in fields(cls)}
        for name, kind in kinds.items():
            value = data.get(name, None if defaults[name] is MISSING else defaults[name])
            values[name] = tuple(value) if isinstance(value, list) else value
            try:
                check_type(
                    values[name], kind, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS
                )
            except TypeCheckError:
                raise ValueError(f"has no {name}") from None
        if not values["scores"] or len(values["scores"]) != len(values["lengths"]):
            raise ValueError("holds no episode, or an incomplete one")
        if values["truncated"] and len(values["truncated"]) != len(values["scores"]):
            raise ValueError("has no truncated for each episode")
        if not all(map(math.isfinite, values["scores"])):
            raise ValueError("has a score that is not finite")
        if not all(map(is_number, (*values["scores"], *values["lengths"], values["epsilon"]))):
            raise ValueError("has a number that is too large, or no number")
        if min(values["steps"], values["max_steps"], *values["lengths"]) < 0:
            raise ValueError("has a negative number of steps")
        return cls(**values)

    def __str__(self) -> str:
        median, low, high = map(format_number, (self.median, min(self.scores), max(self.scores)))
        mean = with_error(self.mean, self.standard_error)
        lines = [
            f"{self.env_name}: mean {mean}  median {median}  min {low}  max {high}  "
            f"episodes {self.episodes}  distinct starts {self.distinct_starts}"
            + ("  (± standard error over episodes)" if "±" in mean else ""),
            f"  protocol {self.conditions}, epsilon {self.epsilon:g}, evaluation seed {self.seed}",
        ]
        if cut := sum(self.truncated):
            by_cap = self.num_capped
            cause = f", {by_cap} of them after --max-steps {self.max_steps:,}" if by_cap else ""
            lines.append(f"  truncated: {cut} of {self.episodes} episodes{cause}")
        if self.resumes:
            lines.append(f"  training was not continued exactly: {', '.join(self.resumes)}")
        if (human := self.human_normalized) is not None:
            table = f"(0 random, 1 human; table: {HUMAN_RANDOM_TABLE})"
            lines.append(f"  human-normalized {human:.3f} {table}")
        return "\n".join(lines)


def suite_of_label(protocol: Any) -> str:
    """Return the suite of scores that were stored without it: Atari, by their protocol's label."""
    return "atari" if str(protocol).partition(" with ")[0] in PROTOCOLS else ""


def scores_file(protocol: str = "", *, stochastic: bool) -> str:
    """Return the file name of a run's scores; an empty protocol is the run's own."""
    return "-".join(["scores", *filter(None, [protocol, "stochastic" * stochastic])]) + ".json"


def read_scores(path: Path) -> Scores:
    """Read the scores that an evaluation wrote; raises UsageError for an unusable file."""
    data = read_json(path)
    try:
        return Scores.from_json(data)
    except ValueError as error:
        flag = " --stochastic" * path.stem.endswith("-stochastic")
        raise UsageError(
            f"{path} {error}; `reverie evaluate{flag} {path.parent}` writes it again."
        ) from error


def find_scores(path: Path) -> Scores | None:
    """Return the scores in a file; None if there is no file or it cannot be used."""
    try:
        return read_scores(path)
    except UsageError:
        return None
