"""Verdicts: does a variant help, does it hurt, is the difference too small to matter?

Each comparison of a table is tested for a difference (two-sided) and for equivalence (two
one-sided tests), by paired t tests whose p-values stay valid over all analyses of the rule. Each
of the two families of a table has its own false discovery rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...envs.atari.games import human_normalized
from ..text.formatting import format_number
from ..text.terminal_text import counted
from .analysis import Analysis, analyze, in_an_env, there_are
from .intervals import (
    Array,
    Interval,
    Key,
    bootstrap,
    mean,
    normalized,
    probability_of_improvement,
)
from .multiplicity import adjusted_level, discoveries
from .paired_test import Pairs
from .power import seeds_needed, signs_needed, smallest_effect
from .sequential import nominal_level, sequential_p
from .verdict_rule import Delta, VerdictRule

Label = Literal["helps", "hurts", "no difference", "cannot tell"]
LABELS: tuple[Label, ...] = ("helps", "hurts", "no difference", "cannot tell")
ALL_ENVS = "all envs"
Sides = tuple[str, Mapping[Key, float], Mapping[Key, float]]
"""A variant, its scores and those of the baseline by env and seed."""


@dataclass(frozen=True)
class Verdict:
    """A variant against the baseline, over runs paired by env and seed."""

    variant: str
    env_name: str
    """The name of an env, or "all envs"."""
    unit: str
    label: Label
    """The side of 0 on which the interval of the difference lies; else whether that of the
    equivalence lies within delta; else "cannot tell"."""
    delta: Delta
    """The largest difference that does not matter."""
    difference: Interval
    """The variant's mean less the baseline's, at the level of the table's differences."""
    equivalence: Interval
    """The same as a share of the baseline's mean (Fieller) if delta is one, at the level of the
    table's equivalences; its bounds are within delta exactly if they are equivalent."""
    improvement: Interval
    """Probability that a run of the variant beats one of the baseline, by bootstrap."""
    pairs: int
    """Number of paired runs (of several envs, in that with fewest) at the analysis that decided, or
    at the last one."""
    baseline: float
    """The baseline's mean over these pairs."""
    p: float
    """Sequential p-value of the difference, before the correction for several comparisons."""
    equivalence_p: float
    level: float
    """Two-sided level of the difference's interval at this analysis alone."""
    reason: str = ""
    """Why nothing can be told, and what would tell it: a sentence, or empty."""
    smallest_effect: float = np.nan
    """Difference that these runs could have told with the rule's power; nan if it is decided."""
    seeds_needed: int | None = None
    """Pairs that would tell the difference seen; None if it is decided or they are too many."""

    @property
    def text(self) -> str:
        """The label, with the value of delta."""
        larger = f" larger than {self.delta}" * (self.label == "no difference")
        return f"{self.label}{larger}"

    @property
    def decided(self) -> bool:
        """Whether further seeds would change nothing."""
        return self.label != "cannot tell"


@dataclass(frozen=True)
class _Row:
    """A comparison at all analyses that were reached, and its sequential p-values at each."""

    variant: str
    env_name: str
    unit: str
    design: tuple[int, ...]
    """All analyses of the rule."""
    analyses: list[Analysis]
    """Those that were reached; if there are none, one of the pairs there are, without a test."""
    above: Array
    below: Array
    equivalent: Array

    @property
    def different(self) -> Array:
        """Two-sided p-values of the difference."""
        return np.asarray(np.minimum(1.0, 2 * np.minimum(self.above, self.below)))


def decide(
    scores: Mapping[str, Mapping[Key, float]],
    rule: VerdictRule,
    games: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Compare each variant with the first one, from scores by env and seed.

    ``games`` names the Atari game of each env that is one. Runs without a partner of the same env
    and seed do not count. There is a verdict for each variant in each env, and one for all envs
    together if there are several and all can be human-normalized; together they are one table.

    Example::

        scores = {"none": {("catch", seed): 0.1 * seed for seed in range(5)},
                  "simhash": {("catch", seed): 1 + 0.2 * seed for seed in range(5)}}
        (verdict,) = decide(scores, VerdictRule())
        assert verdict.label == "helps"
    """
    baseline, *variants = scores
    sides = [(variant, scores[variant], scores[baseline]) for variant in variants]
    return decide_table(sides, rule, games or {})


def decide_table(
    sides: Sequence[Sides], rule: VerdictRule, games: Mapping[str, str]
) -> list[Verdict]:
    """Compare as ``decide`` does, each variant with the scores of a baseline of its own."""
    rows = [row for each in sides for row in _rows(*each, rule, games)]
    if not rows:
        return []
    different, equivalent = (
        int(discoveries(np.array([p[-1] for p in table]), rule.alpha))
        for table in zip(*((row.different, row.equivalent) for row in rows), strict=True)
    )
    numbers = (different, equivalent, different + 1)
    levels = _Levels(*(float(adjusted_level(x, len(rows), rule.alpha)) for x in numbers))
    return [_verdict(row, rule, levels) for row in rows]


@dataclass(frozen=True)
class _Levels:
    """Levels of one comparison of a table, at which it belongs to the rejected ones."""

    different: float
    equivalent: float
    next_different: float
    """The level at which one more comparison would be told to differ."""


def _rows(
    variant: str,
    ours: Mapping[Key, float],
    theirs: Mapping[Key, float],
    rule: VerdictRule,
    games: Mapping[str, str],
) -> list[_Row]:
    """Analyze a variant in every env, and in all envs together."""
    env_names = sorted({env_name for env_name, _ in (*ours, *theirs)})
    tables = [(name, "points", [name], (ours, theirs)) for name in env_names]
    human = all(human_normalized(games.get(name, ""), 0.0) is not None for name in env_names)
    if human and len(env_names) > 1:
        shares = normalized(ours, games), normalized(theirs, games)
        tables.insert(0, (ALL_ENVS, "human-normalized", env_names, shares))
    rows = []
    for title, unit, names, (a, b) in tables:
        keys = [[key for key in sorted(a) if key[0] == name and key in b] for name in names]
        pairs = [(np.array([a[x] for x in each]), np.array([b[x] for x in each])) for each in keys]
        rows.append(_row(variant, title, unit, pairs, rule))
    return rows


def _row(variant: str, env_name: str, unit: str, pairs: Pairs, rule: VerdictRule) -> _Row:
    """Analyze a comparison as often as it has enough pairs, in the order of their seeds."""
    fewest = min(len(v) for v, _ in pairs)
    reached = rule.reached(fewest)
    if rule.analyses:
        analyses = [analyze([(v[:n], b[:n]) for v, b in pairs], unit, rule) for n in reached]
    else:  # each env has all its pairs
        analyses = [analyze(pairs, unit, rule)] * bool(reached)
    design = rule.analyses or (fewest,)
    tests = [(x.p_above, x.p_below, x.p_equivalent) for x in analyses] or [(1.0, 1.0, 1.0)]
    above, below, equivalent = sequential_p(np.array(tests).T, design)
    if not analyses:
        where = in_an_env(pairs)
        problem = f"{there_are(fewest)}{where}; the first analysis takes {design[0]}."
        if not fewest:
            problem = f"No seed has a run of both{where}."
        analyses = [Analysis(pairs, f"n = {fewest}{where}", problem)]
    return _Row(variant, env_name, unit, design, analyses, above, below, equivalent)


def _verdict(row: _Row, rule: VerdictRule, levels: _Levels) -> Verdict:
    """Return the verdict of the analysis that first decided, or of the last one."""
    helps, same = row.different <= levels.different, row.equivalent <= levels.equivalent
    last = len(row.analyses) - 1
    at = int(helps.argmax()) if helps.any() else last
    at_same = int(same.argmax()) if same.any() else last
    label: Label = "cannot tell"
    if helps.any():
        label = "helps" if row.above[at] < row.below[at] else "hurts"
    elif same.any():
        label = "no difference"
    level = float(nominal_level(levels.different / 2, row.design)[at])
    same_level = float(nominal_level(levels.equivalent, row.design)[at_same])
    here = row.analyses[at_same if label == "no difference" else at]
    effect, needed, reason = np.nan, None, ""
    if label == "cannot tell":
        effect, needed = _power(row, rule, levels.next_different / 2)
        reason = _reason(here, row.unit, rule, effect, needed)
    return Verdict(
        row.variant,
        row.env_name,
        row.unit,
        label,
        rule.delta,
        _difference(row.analyses[at], level),
        _equivalence(row.analyses[at_same], rule, same_level),
        _improvement(here),
        here.n,
        here.baseline,
        float(row.different[-1]),
        float(row.equivalent[-1]),
        2 * level,
        reason,
        effect,
        needed,
    )


def _improvement(here: Analysis) -> Interval:
    """Return the probability of improvement with its bootstrap interval."""
    if not here.n:
        return Interval(np.nan, missing=here.missing)
    ours, theirs = zip(*here.pairs, strict=True)
    return bootstrap(probability_of_improvement, ours, theirs)


def _difference(here: Analysis, level: float) -> Interval:
    """Return the difference of means with its interval at a one-sided level."""
    if here.means:
        return here.means.interval(level)
    differences = [v - b for v, b in here.pairs]
    estimate = float(mean(differences)) if here.n else np.nan
    return Interval(estimate, missing=here.missing)


def _equivalence(here: Analysis, rule: VerdictRule, level: float) -> Interval:
    """Return the difference that is compared with delta, with its interval at a one-sided level."""
    if not here.means or here.delta_problem:
        return Interval(np.nan, missing=here.missing or here.delta_problem)
    if not rule.delta.relative:
        return here.means.interval(level)
    ratio = here.means.ratio(level)
    side = math.copysign(1.0, here.baseline)
    low, high = sorted(side * (x - 1) for x in (ratio.low, ratio.high))
    return Interval(side * (ratio.estimate - 1), low, high, ratio.missing)


def _power(row: _Row, rule: VerdictRule, level: float) -> tuple[float, int | None]:
    """Return the smallest effect that the analyses so far tell, and the pairs of the one seen."""
    here = row.analyses[-1]
    if not here.means:
        by_signs = min(here.p_above, here.p_below) < 1
        return np.nan, signs_needed(row.design, level) if by_signs else None
    deviation = float(here.means.error()) * np.sqrt(here.n)
    effect = smallest_effect(row.design, len(row.analyses), level, rule.power)
    seen = float(here.means.difference) / deviation
    return effect * deviation, seeds_needed(row.design, seen, level, rule.power)


def _reason(here: Analysis, unit: str, rule: VerdictRule, effect: float, needed: int | None) -> str:
    """Return why nothing can be told, as sentences."""
    if not here.means:
        return f"{here.problem} A sign test takes {needed}." if needed else here.problem
    share = f" ({effect / abs(here.baseline):.0%} of the baseline's mean)" if here.baseline else ""
    seen = f"about {needed:,} pairs" if needed else "too many pairs"
    text = (
        f"{counted(here.n, 'pair')} tell a difference of {format_number(effect)} {unit}{share} "
        f"with power {rule.power:.0%}; the difference seen takes {seen}."
    )
    return f"{text} No equivalence: {here.delta_problem}." if here.delta_problem else text
