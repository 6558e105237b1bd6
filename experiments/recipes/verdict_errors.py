"""How often verdicts are wrong, and how often they find what they promise, by simulation.

A simulated grid compares several variants with one common baseline in one env, with the p-values
and the corrections of ``experiments/verdicts``. Its scores are normal, skewed or heavy-tailed, and
it is stopped by each of several rules.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..runs.provenance import code_version
from ..verdicts.intervals import Array
from ..verdicts.multiplicity import adjusted_level, discoveries
from ..verdicts.paired_test import paired_means
from ..verdicts.power import smallest_effect
from ..verdicts.sequential import sequential_p
from ..verdicts.verdict_rule import VerdictRule
from .recipe import Recipe

Generator = np.random.Generator
Size = tuple[int, ...]

SHAPES: dict[str, Callable[[Generator, Size], Array]] = {
    "normal": lambda rng, size: 10 + 3 * rng.standard_normal(size),
    "skewed (lognormal)": lambda rng, size: 10 * rng.lognormal(-0.125, 0.5, size),
    "heavy-tailed (t, 2.5 degrees)": lambda rng, size: 10 + 2 * rng.standard_t(2.5, size),
}
"""Scores of mean 10, by the name of their distribution."""


def found(p: Array, alpha: float) -> dict[str, float]:
    """Return the share of grids that reject a hypothesis, by the rule that stops them.

    ``p`` [grids, comparisons, analyses] are sequential p-values. A grid stops at one analysis, or
    at the last one with all its comparisons or with those alone that were not rejected before.
    """
    analyses = p.shape[-1]
    by_rule = {
        f"after analysis {k + 1}": float((discoveries(p[..., k], alpha) > 0).mean())
        for k in range(analyses)
    }
    kept, decided = p[..., 0], np.zeros(p.shape[:-1], bool)
    for k in range(analyses):
        kept = np.where(decided, kept, p[..., k])
        level = adjusted_level(discoveries(kept, alpha), p.shape[1], alpha)
        decided |= kept <= level[:, None]
    return {**by_rule, "each comparison when decided": float(decided.any(1).mean())}


@dataclass(frozen=True)
class VerdictErrors(Recipe):
    """False differences, false equivalences and power of simulated grids."""

    grids: int = 4000
    comparisons: int = 6
    max_seeds: tuple[int, ...] = (12, 40)
    """Sequential designs; a fixed one of the first number is simulated too."""

    kind: ClassVar[str] = "verdict-errors"

    @property
    def cost(self) -> str:
        return f"{self.grids:,} simulated grids for each shape of scores"

    @property
    def rules(self) -> list[VerdictRule]:
        """The designs that are simulated."""
        fixed = VerdictRule(analyses=self.max_seeds[:1])
        return [fixed, *map(VerdictRule.sequential, self.max_seeds)]

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the rates of each design and shape."""
        rows = [self._row(rule, shape) for rule in self.rules for shape in SHAPES]
        sizes = {"grids": self.grids, "comparisons": self.comparisons}
        yield {**sizes, "rows": rows, "provenance": code_version()}

    def _row(self, rule: VerdictRule, shape: str) -> dict[str, Any]:
        """Return the highest error rates over all rules of stopping, and the power."""
        equivalences = [self.false_equivalences(rule, shape, side) for side in (-1, 1)]
        return {
            "analyses": rule.analyses,
            "scores": shape,
            "false_differences": max(self.false_differences(rule, shape).values()),
            "false_equivalences": max(rate for rates in equivalences for rate in rates.values()),
            "power": self.power(rule, shape),
        }

    def false_differences(self, rule: VerdictRule, shape: str) -> dict[str, float]:
        """Return the share of grids without an effect that find one, by the rule of stopping."""
        p = self._p_different(rule, *self._scores(rule, shape))
        return found(p, rule.alpha)

    def false_equivalences(self, rule: VerdictRule, shape: str, side: int) -> dict[str, float]:
        """Return the share of grids of variants at delta that call one of them equivalent."""
        variants, baseline = self._scores(rule, shape)
        low, high = 1 - rule.delta.amount, 1 + rule.delta.amount
        variants = variants * (high if side > 0 else low)
        tests = []
        for n in rule.analyses:
            means = paired_means([(variants[..., :n], baseline[..., :n])])
            tests.append(np.maximum(means.p_above(1.0, low), means.p_above(-1.0, -high)))
        return found(sequential_p(np.stack(tests, -1), rule.analyses), rule.alpha)

    def power(self, rule: VerdictRule, shape: str) -> float:
        """Return the share of single comparisons that find the effect that the rule promises."""
        variants, baseline = self._scores(rule, shape)
        variants = variants[:, :1]
        reached, level = len(rule.analyses), rule.alpha / 2
        effect = smallest_effect(rule.analyses, reached, level, rule.power)
        rng = np.random.default_rng(1)
        deviation = np.std(SHAPES[shape](rng, (200_000,)) - SHAPES[shape](rng, (200_000,)))
        p = self._p_different(rule, variants + effect * deviation, baseline)
        return float((p[:, 0, -1] <= rule.alpha).mean())

    def _scores(self, rule: VerdictRule, shape: str) -> tuple[Array, Array]:
        """Return scores of variants and of the baseline [grids, comparisons or 1, seeds]."""
        rng, seeds = np.random.default_rng(0), rule.analyses[-1]
        scores = SHAPES[shape](rng, (self.grids, self.comparisons + 1, seeds))
        return scores[:, 1:], scores[:, :1]

    def _p_different(self, rule: VerdictRule, variants: Array, baseline: Array) -> Array:
        """Return two-sided sequential p-values at each analysis."""
        means = [paired_means([(variants[..., :n], baseline[..., :n])]) for n in rule.analyses]
        above = sequential_p(np.stack([x.p_above() for x in means], -1), rule.analyses)
        below = sequential_p(np.stack([x.p_above(-1.0, -1.0) for x in means], -1), rule.analyses)
        p: Array = np.minimum(1.0, 2 * np.minimum(above, below))
        return p
