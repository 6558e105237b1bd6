"""Boundaries of sequential tests, against Brownian motion, and the false discoveries of tables."""

import numpy as np
import pytest
from scipy import stats

from reverie.experiments.verdicts import sequential
from reverie.experiments.verdicts.multiplicity import adjusted_level, discoveries
from reverie.experiments.verdicts.sequential import RHO, nominal_level, sequential_p

ANALYSES = (4, 6, 8, 12, 20, 40)


@pytest.mark.parametrize("alpha", [0.2, 0.025])
def test_brownian_motion_crosses_as_often_as_is_spent(
    alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to each analysis, not only up to the last one."""
    monkeypatch.setattr(sequential, "_inflation", lambda analyses: 1.0)
    rng, times = np.random.default_rng(0), np.array(ANALYSES) / ANALYSES[-1]
    steps = rng.standard_normal((200_000, len(times))) * np.sqrt(np.diff(times, prepend=0))
    p = stats.norm.sf(steps.cumsum(1) / np.sqrt(times))
    crossed = np.logical_or.accumulate(p <= nominal_level(alpha, ANALYSES), 1).mean(0)
    spent = alpha * times**RHO
    np.testing.assert_allclose(crossed, spent, atol=4 * np.sqrt(alpha / 200_000))


def test_the_first_boundary_is_the_level_that_is_spent_first() -> None:
    levels = nominal_level(0.025, ANALYSES)
    factor = 0.025 * (4 / 40) ** RHO / levels[0]
    assert 1.0 < factor < 1.25, "of the t tests of few scores"
    assert (np.diff(levels) > 0).all()
    assert levels[-1] < 0.025


@pytest.mark.parametrize("analyses", [(4, 6, 8), (3, 4, 5, 6, 7, 8), ANALYSES])
def test_t_tests_of_few_scores_cross_at_most_as_often_as_is_promised(
    analyses: tuple[int, ...],
) -> None:
    x = np.random.default_rng(5).standard_normal((40_000, analyses[-1]))
    p = [stats.ttest_1samp(x[:, :n], 0, axis=1, alternative="less").pvalue for n in analyses]
    crossed = (sequential_p(np.stack(p, 1), analyses)[:, -1] <= 0.025).mean()
    assert 0.022 <= crossed <= 0.025 + 2 * np.sqrt(0.025 / 40_000)


def test_paths_have_the_moments_of_normal_scores() -> None:
    means, errors = sequential.normal_paths((1, 4, 5), 50_000)
    assert (errors[:, 0] == 0).all()
    for i, n in enumerate((1, 4, 5)):
        assert means[:, i].std() == pytest.approx(n**-0.5, rel=0.02)
        assert (errors[:, i] ** 2).mean() == pytest.approx(1 / n if n > 1 else 0, rel=0.02)
    assert np.corrcoef(means[:, 1], means[:, 2])[0, 1] == pytest.approx(0.8**0.5, abs=0.01)


def test_a_sequential_p_value_is_the_least_alpha_that_has_crossed() -> None:
    p = np.random.default_rng(0).uniform(size=(500, len(ANALYSES))) ** 4
    values = sequential_p(p, ANALYSES)
    assert (np.diff(values, axis=1) <= 0).all()
    for alpha in (1e-6, 0.01, 0.025, 0.3):
        crossed = np.logical_or.accumulate(p <= nominal_level(alpha, ANALYSES), 1)
        np.testing.assert_array_equal(crossed, values <= alpha)
    np.testing.assert_array_equal(sequential_p(p[:, :2], ANALYSES), values[:, :2])
    assert sequential_p(np.array([0.9, 0.0]), ANALYSES[:2])[0] == 1


def test_one_analysis_is_the_test_of_a_fixed_size() -> None:
    p = np.array([[0.0], [0.04], [0.7]])
    assert sequential_p(p, (12,)) is p
    assert nominal_level(0.04, (12,)).tolist() == [0.04]


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(size=(200, 7)) ** 3
    counts = discoveries(p, 0.1)
    assert len(set(counts)) > 4
    for row, count in zip(p, counts, strict=True):
        rejected = stats.false_discovery_control(row) <= 0.1
        assert count == rejected.sum()
        np.testing.assert_array_equal(row <= adjusted_level(count, 7, 0.1), rejected)
    assert discoveries(np.ones(3), 0.05) == 0
