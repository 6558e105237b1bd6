"""One analysis of a comparison: the tests of its first pairs of runs, or why they allow none."""

from dataclasses import dataclass

import numpy as np

from ..text.terminal_text import counted
from .intervals import MIN_RUNS, ROUNDING, constant, mean
from .paired_test import PairedMeans, Pairs, paired_means
from .verdict_rule import VerdictRule


@dataclass(frozen=True)
class Analysis:
    """The tests of a comparison's first pairs, each with the p-value of this analysis alone."""

    pairs: Pairs
    missing: str
    """Why the difference has no interval; empty if it has one."""
    problem: str = ""
    """The same as a sentence."""
    delta_problem: str = ""
    """Why delta has no meaning for them."""
    means: PairedMeans | None = None
    p_above: float = 1.0
    p_below: float = 1.0
    p_equivalent: float = 1.0

    @property
    def n(self) -> int:
        """Number of pairs; of several envs, that of the env with fewest."""
        return min(len(v) for v, _ in self.pairs)

    @property
    def baseline(self) -> float:
        """The baseline's mean; nan without pairs."""
        return float(mean([b for _, b in self.pairs])) if self.n else float("nan")


def analyze(pairs: Pairs, unit: str, rule: VerdictRule) -> Analysis:
    """Test the difference of pairs of scores, and whether it is within delta."""
    if untested := _untested(pairs):
        return untested
    means = paired_means(pairs)
    p_equivalent, delta_problem = 1.0, ""
    if rule.delta.relative and not means.baseline:
        delta_problem = "the baseline's mean is 0, of which delta is no share: give --delta NUMBER"
    elif not rule.delta.relative and unit != "points":
        delta_problem = "delta is in points, and these scores are not: give --delta as a share"
    elif rule.delta.relative:
        # |v - b| < delta |b|, without an estimate of b: v - (1 - delta) b and (1 + delta) b - v
        # are above 0 for a positive b, below it for a negative one.
        side = float(np.sign(means.baseline))
        low, high = (side * (1 + sign * rule.delta.amount) for sign in (-1, 1))
        p_equivalent = max(means.p_above(side, low), means.p_above(-side, -high))
    else:
        bound = rule.delta.amount
        p_equivalent = max(means.p_above(shift=bound), means.p_above(-1.0, -1.0, shift=bound))
    return Analysis(
        *(pairs, "", "", delta_problem, means),
        float(means.p_above()),
        float(means.p_above(-1.0, -1.0)),
        float(p_equivalent),
    )


def _untested(pairs: Pairs) -> Analysis | None:
    """Return the analysis of pairs that allow no t test; None if they do.

    Equal pairs are no evidence of a difference; those of one env of several add no variance to the
    others. Equal differences have no variance to estimate; a sign test counts them instead. Scores
    are equal but for the rounding of floating-point numbers.
    """
    fewest, where = min(len(v) for v, _ in pairs), in_an_env(pairs)
    for side, name in ((0, "variant"), (1, "baseline")):
        scores = np.concatenate([each[side] for each in pairs])
        if not np.isfinite(scores).all():
            worst = scores[~np.isfinite(scores)][0]
            return Analysis(pairs, "a score is not finite", f"A score of the {name} is {worst}.")
    if fewest < MIN_RUNS:
        problem = f"{there_are(fewest)}{where}; a test takes {MIN_RUNS}."
        return Analysis(pairs, f"n = {fewest}{where}", problem)
    differences = [v - b for v, b in pairs]
    equal = [np.allclose(v, b, rtol=ROUNDING, atol=ROUNDING) for v, b in pairs]
    if all(equal):
        problem = f"All {counted(sum(map(len, differences)), 'pair')} are equal."
        return Analysis(pairs, "no difference seen", problem)
    if not any(constant(x) and not same for x, same in zip(differences, equal, strict=True)):
        return None
    missing, problem = f"equal differences{where}", f"All differences are equal{where}."
    if len(pairs) > 1:
        return Analysis(pairs, missing, problem)
    above, below = (0.5**fewest if sign * differences[0][0] > 0 else 1.0 for sign in (1, -1))
    return Analysis(pairs, missing, problem, p_above=above, p_below=below)


def there_are(pairs: int) -> str:
    """Return the beginning of a sentence about a number of pairs."""
    return f"There {'is' if pairs == 1 else 'are'} {counted(pairs, 'pair')}"


def in_an_env(pairs: Pairs) -> str:
    """Return the end of a clause about a number that is the smallest of several envs."""
    return " in an env" if len(pairs) > 1 else ""
