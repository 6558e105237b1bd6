"""The rule of a comparison's verdicts, which is fixed and written down before any run.

It says which score counts, which difference is too small to matter, and after how many seeds the
scores are analyzed.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ...envs.checks import check, refuse, within
from ...envs.errors import UsageError
from ..runs.files import read_json, write_json

FILE = "verdict_rule.json"
"""Name of the file in the folder of a grid."""

Score = Literal["evaluation", "training-end", "training-mean"]
"""The mean of the final evaluation, of the last 100 training episodes, or of all of them, which
count alike whatever their length. The last is the right score for exploration bonuses."""


@dataclass(frozen=True)
class Delta:
    """The largest difference from the baseline that does not matter.

    Example::

        Delta.parse("25%")  # a quarter of the baseline's mean
        Delta.parse("0.5")  # half a point
    """

    amount: float
    relative: bool
    """Whether the amount is a fraction of the baseline's mean instead of a number of points."""

    def __post_init__(self) -> None:
        if not 0 < self.amount < math.inf or (self.relative and self.amount >= 1):
            raise UsageError(
                f"--delta is {self}; it is a share of the baseline's mean above 0% and below 100%, "
                "such as 25%, or a number of points above 0, such as 0.5."
            )

    def __str__(self) -> str:
        return f"{100 * self.amount:.12g}%" if self.relative else f"{self.amount:.12g}"

    @classmethod
    def parse(cls, text: str) -> "Delta":
        """Return the difference that a text such as 25% or 0.5 names; raises UsageError."""
        number = text.strip().removesuffix("%")
        if not re.fullmatch(r"\d+(\.\d*)?(e[+-]?\d+)?|\.\d+", number):
            raise UsageError(
                f"--delta is '{text}'; write a share of the baseline's mean such as 25%, or a "
                "number of points such as 0.5."
            )
        relative = number != text.strip()
        return cls(float(number) / (100 if relative else 1), relative)

    @property
    def described(self) -> str:
        """The difference as a noun phrase."""
        return f"{self} of the baseline's mean" if self.relative else f"{self} points"


@dataclass(frozen=True)
class VerdictRule:
    """How runs of a variant and of the baseline are compared.

    Example::

        VerdictRule.sequential(40, delta=Delta.parse("10%")).analyses  # (4, 6, ..., 40)
    """

    score: Score = "evaluation"
    delta: Delta = Delta(0.25, relative=True)
    alpha: float = 0.05
    """False discoveries among the differences, and among the equivalences, of one table."""
    power: float = 0.8
    """Probability with which the smallest effect that is reported as detectable is found."""
    analyses: tuple[int, ...] = ()
    """Numbers of pairs of runs at which a comparison is analyzed, in order; the last one is the
    largest number of seeds. Empty: one analysis of all pairs there are."""

    def __post_init__(self) -> None:
        if self.score not in get_args(Score):
            refuse(self, "", "score", f"one of {', '.join(get_args(Score))}")
        check(self, "", within(1e-6, 0.5), "alpha")
        check(self, "", within(0.05, 0.999), "power")
        ascending = all(a < b for a, b in zip((0, *self.analyses), self.analyses, strict=False))
        if not ascending:
            refuse(self, "", "analyses", "ascending numbers of seeds, from 1 on")

    @classmethod
    def sequential(cls, max_seeds: int, **settings: Any) -> "VerdictRule":
        """Return a rule with analyses from 4 seeds on, each of a quarter more (at least 2)."""
        analyses = [min(4, max_seeds)]
        while (following := analyses[-1] + max(2, analyses[-1] // 4)) < max_seeds:
            analyses.append(following)
        return cls(analyses=tuple(sorted({*analyses, max_seeds})), **settings)

    @property
    def max_seeds(self) -> int | None:
        """Number of pairs of the last analysis; None if all pairs are analyzed once."""
        return self.analyses[-1] if self.analyses else None

    def reached(self, pairs: int) -> tuple[int, ...]:
        """Return the analyses for which there are enough pairs of runs."""
        return tuple(n for n in self.analyses or (pairs,) if 0 < n <= pairs)

    def following(self, pairs: int) -> int | None:
        """Return the number of pairs of the next analysis; None after the last one."""
        return next((n for n in self.analyses if n > pairs), None)

    def __str__(self) -> str:
        when = f"after {', '.join(map(str, self.analyses))} seeds" if self.analyses else "once"
        return (
            f"score {self.score}, delta {self.delta.described}, alpha {self.alpha:g}, power "
            f"{self.power:g}, analyzed {when}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields, delta as its text."""
        return {**asdict(self), "delta": str(self.delta)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "VerdictRule":
        """Invert ``to_json``; raises UsageError for fields that it does not write."""
        try:
            values = dict(data)
            delta, analyses = Delta.parse(values.pop("delta")), tuple(values.pop("analyses"))
            return cls(delta=delta, analyses=analyses, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"A verdict rule cannot be read from {dict(data)}.") from error


def read_rule(folder: Path) -> VerdictRule | None:
    """Return the rule of the grid in a folder; None if it has none."""
    path = folder / FILE
    return VerdictRule.from_json(read_json(path)) if path.exists() else None


def write_rule(folder: Path, rule: VerdictRule) -> None:
    """Write the rule of a grid; raises UsageError if the folder has another one."""
    if (written := read_rule(folder)) is None:
        write_json(folder / FILE, rule.to_json())
    elif written != rule:
        raise UsageError(
            f"The grid in {folder} has the rule '{written}', which was fixed before its first run, "
            f"instead of '{rule}'; repeat its flags, or choose another --folder."
        )
