"""The effects that a design can tell, against the t distribution and against simulation."""

import numpy as np
import pytest
from scipy import stats

from reverie.experiments.verdicts.power import seeds_needed, signs_needed, smallest_effect
from reverie.experiments.verdicts.sequential import nominal_level

ANALYSES = (4, 8, 12, 20)


@pytest.mark.parametrize("n", [3, 12, 40])
def test_one_analysis_has_the_power_of_the_t_test(n: int) -> None:
    effect = smallest_effect((n,), 1, 0.025, 0.8)
    bound = stats.t.isf(0.025, n - 1)
    assert stats.nct.sf(bound, n - 1, effect * n**0.5) == pytest.approx(0.8)
    assert seeds_needed((n,), effect * 1.0001, 0.025, 0.8) == n
    more = seeds_needed((n,), -effect * 0.98, 0.025, 0.8)
    assert more is not None
    assert more > n


def test_several_analyses_have_the_power_that_is_promised() -> None:
    for reached in (2, 4):
        effect = smallest_effect(ANALYSES, reached, 0.025, 0.8)
        x = effect + np.random.default_rng(7).standard_normal((20_000, ANALYSES[-1]))
        levels = nominal_level(0.025, ANALYSES)
        told = np.zeros(len(x), bool)
        for n, level in list(zip(ANALYSES, levels, strict=True))[:reached]:
            t = x[:, :n].mean(1) / x[:, :n].std(1, ddof=1) * n**0.5
            told |= t >= stats.t.isf(level, n - 1)
        assert told.mean() == pytest.approx(0.8, abs=0.012)


def test_the_seeds_that_an_effect_takes_are_an_analysis_if_one_is_enough() -> None:
    large, small = (smallest_effect(ANALYSES, k, 0.025, 0.8) for k in (2, 4))
    assert seeds_needed(ANALYSES, large, 0.025, 0.8) == 8
    assert seeds_needed(ANALYSES, small, 0.025, 0.8) == 20
    more = seeds_needed(ANALYSES, small * 0.8, 0.025, 0.8)
    assert more is not None
    assert 20 < more < 60
    for effect in (0.0, 1e-4):
        assert seeds_needed(ANALYSES, effect, 0.025, 0.8) is None


def test_too_few_pairs_tell_no_effect() -> None:
    assert smallest_effect((1, 2, 4), 2, 0.025, 0.8) == np.inf
    assert np.isfinite(smallest_effect((1, 2, 4), 3, 0.025, 0.8))
    assert smallest_effect((2,), 1, 0.025, 0.8) == np.inf
    assert smallest_effect(ANALYSES, 0, 0.025, 0.8) == np.inf
    assert signs_needed((12,), 0.025) == 6
    assert signs_needed(ANALYSES, 0.025) in ANALYSES
