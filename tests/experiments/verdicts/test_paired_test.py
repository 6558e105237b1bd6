"""Paired tests against scipy, and Fieller's interval against its definition."""

import numpy as np
import pytest
from scipy import stats

from reverie.experiments.verdicts.paired_test import paired_means


def scores(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    baseline = rng.gamma(3, 1, n)
    return baseline + rng.normal(0.5, 1, n), baseline


def test_the_difference_is_tested_by_the_paired_t_test() -> None:
    v, b = scores(9)
    means = paired_means([(v, b)])
    for side, alternative in ((1.0, "greater"), (-1.0, "less")):
        expected = stats.ttest_rel(v, b, alternative=alternative)
        assert means.p_above(side, side) == pytest.approx(expected.pvalue)
    interval, expected = means.interval(0.01), stats.ttest_rel(v, b).confidence_interval(0.98)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    contrast = stats.ttest_1samp(2 * v - 3 * b + 0.5, 0, alternative="greater").pvalue
    assert means.p_above(2.0, 3.0, shift=0.5) == pytest.approx(contrast)


def test_two_games_are_tested_by_welchs_t_test() -> None:
    """The mean of two means is half of x - (-y), which Welch's test compares."""
    x, y = np.random.default_rng(3).gamma(2, 1, 4), np.random.default_rng(4).gamma(2, 3, 9)
    interval = paired_means([(x, 0 * x), (y, 0 * y)]).interval(0.025)
    welch = stats.ttest_ind(x, -y, equal_var=False).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((welch.low / 2, welch.high / 2))


def test_leading_axes_are_kept() -> None:
    v, b = np.random.default_rng(0).normal(size=(2, 5, 3, 8))
    p = paired_means([(v, b[:, :1])]).p_above()
    assert p.shape == (5, 3)
    expected = stats.ttest_rel(v[2, 1], b[2, 0], alternative="greater").pvalue
    assert p[2, 1] == pytest.approx(expected)


def test_fiellers_interval_holds_the_ratios_that_are_not_rejected() -> None:
    v, b = scores(8)
    means = paired_means([(v, b)])
    ratio = means.ratio(0.025)
    assert ratio.estimate == pytest.approx(v.mean() / b.mean())
    assert ratio.low < ratio.estimate < ratio.high
    for bound in (ratio.low, ratio.high):
        assert stats.ttest_1samp(v - bound * b, 0).pvalue == pytest.approx(0.05)
    mirrored = paired_means([(-v, -b)]).ratio(0.025)
    assert (mirrored.low, mirrored.high) == pytest.approx((ratio.low, ratio.high))
    centered = paired_means([(v, b - b.mean())]).ratio(0.025)
    assert centered.missing == "the denominator may be 0"
