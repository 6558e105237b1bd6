"""The paired t test of a variant against the baseline, and of ratios of their means (Fieller 1954).

A contrast ``u * variant - w * baseline`` of the means of two sets of paired scores is tested
against 0. All functions reduce the last axis of scores, the pairs; leading axes are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from .intervals import Array, Interval, Value

Pairs = Sequence[tuple[Array, Array]]
"""Scores of the variant and of the baseline, [..., pairs] each, one entry per env."""


@dataclass(frozen=True)
class PairedMeans:
    """The means of two sets of paired scores, and the covariance of these means."""

    variant: Value
    baseline: Value
    variant_variance: Value
    baseline_variance: Value
    covariance: Value
    freedom: Value
    """Degrees of freedom of the variances: the pairs less 1; of several envs, those of Welch and
    Satterthwaite for the difference."""

    @property
    def difference(self) -> Value:
        return self.variant - self.baseline

    def error(self, u: Value = 1.0, w: Value = 1.0) -> Value:
        """Return the standard error of ``u * variant - w * baseline``."""
        square = u**2 * self.variant_variance + w**2 * self.baseline_variance
        return np.sqrt(np.maximum(square - 2 * u * w * self.covariance, 0))

    def p_above(self, u: Value = 1.0, w: Value = 1.0, shift: float = 0.0) -> Value:
        """Return the one-sided p-value of ``u * variant - w * baseline + shift > 0``.

        It is 1 without variance.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (u * self.variant - w * self.baseline + shift) / self.error(u, w)
        return np.where(np.isfinite(t), stdtr(self.freedom, -t), 1.0)

    def interval(self, level: float) -> Interval:
        """Return the difference with its t interval, whose tests have this one-sided level."""
        estimate = float(self.difference)
        margin = float(-stdtrit(self.freedom, level) * self.error())
        return Interval(estimate, estimate - margin, estimate + margin)

    def ratio(self, level: float) -> Interval:
        """Return variant / baseline with Fieller's interval, whose tests have this one-sided level.

        It has no bounds if the baseline's mean is not different from 0 at the same level.
        """
        estimate = float(self.variant / self.baseline) if self.baseline else float("nan")
        square = float(stdtrit(self.freedom, level)) ** 2
        a = self.baseline**2 - square * self.baseline_variance
        b = self.variant * self.baseline - square * self.covariance
        c = self.variant**2 - square * self.variant_variance
        if not a > 0:
            return Interval(estimate, missing="the denominator may be 0")
        root = np.sqrt(max(b**2 - a * c, 0.0))
        return Interval(estimate, float((b - root) / a), float((b + root) / a))


def paired_means(pairs: Pairs) -> PairedMeans:
    """Return the means over envs of the means over pairs; an env needs two pairs or more."""
    count = len(pairs)
    variances: dict[str, list[Value]] = {"vv": [], "bb": [], "vb": [], "dd": []}
    for v, b in pairs:
        n = v.shape[-1]
        v, b = v - v.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
        products = {"vv": v * v, "bb": b * b, "vb": v * b, "dd": (v - b) ** 2}
        for name, product in products.items():
            variances[name].append(product.sum(-1) / (n - 1) / n)
    sums = {name: np.sum(values, 0) / count**2 for name, values in variances.items()}
    squares = [dd**2 / (v.shape[-1] - 1) for dd, (v, _) in zip(variances["dd"], pairs, strict=True)]
    with np.errstate(invalid="ignore"):
        several = np.sum(variances["dd"], 0) ** 2 / np.sum(squares, 0)
    return PairedMeans(
        variant=np.mean([v.mean(-1) for v, _ in pairs], 0),
        baseline=np.mean([b.mean(-1) for _, b in pairs], 0),
        variant_variance=sums["vv"],
        baseline_variance=sums["bb"],
        covariance=sums["vb"],
        freedom=several if count > 1 else np.float64(pairs[0][0].shape[-1] - 1),
    )
