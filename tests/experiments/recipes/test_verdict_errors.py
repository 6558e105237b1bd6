"""Proof by simulation: grids without an effect rarely find one, by whatever rule they stop."""

import json

import numpy as np
import pytest

from reverie.experiments.recipes.verdict_errors import SHAPES, VerdictErrors, found
from reverie.experiments.reporting.committed import RESULTS
from reverie.experiments.verdicts.verdict import decide
from reverie.experiments.verdicts.verdict_rule import VerdictRule

SIMULATED = VerdictErrors()
RULES = {
    "fixed": VerdictRule(analyses=(8,)),
    "sequential": VerdictRule.sequential(8),
    **{
        f"sequential-{n}": pytest.param(VerdictRule.sequential(n), marks=pytest.mark.long)
        for n in (12, 40)
    },
}
EACH_RULE = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES)
AT_MOST = 0.057
"""Of 4,000 grids: 5% and two standard errors."""


@EACH_RULE
@EACH_SHAPE
def test_grids_without_an_effect_rarely_find_one(rule: VerdictRule, shape: str) -> None:
    rates = SIMULATED.false_differences(rule, shape)
    assert max(rates.values()) <= AT_MOST
    assert max(rates.values()) >= 0.01, "a test that never finds anything would pass"


@EACH_RULE
@EACH_SHAPE
@pytest.mark.parametrize("side", [-1, 1])
def test_variants_at_delta_are_rarely_called_equivalent(
    rule: VerdictRule, shape: str, side: int
) -> None:
    assert max(SIMULATED.false_equivalences(rule, shape, side).values()) <= AT_MOST


@EACH_RULE
def test_power_is_what_is_promised(rule: VerdictRule) -> None:
    assert SIMULATED.power(rule, "normal") == pytest.approx(rule.power, abs=0.03)
    assert SIMULATED.power(rule, "skewed (lognormal)") >= rule.power - 0.03


def test_simulated_grids_decide_as_real_ones() -> None:
    """The vectorized p-values are those of ``decide``."""
    rule, few = VerdictRule.sequential(8), VerdictErrors(grids=5, comparisons=3)
    variants, baseline = few._scores(rule, "normal")
    simulated = few._p_different(rule, variants, baseline)[..., -1]
    for grid in range(5):
        sides = {"baseline": baseline[grid, 0], **{str(i): variants[grid, i] for i in range(3)}}
        scores = {
            name: {("env", seed): float(x) for seed, x in enumerate(values)}
            for name, values in sides.items()
        }
        p = [verdict.p for verdict in decide(scores, rule)]
        np.testing.assert_allclose(p, simulated[grid])


def test_rules_of_stopping_are_counted_by_hand() -> None:
    """Two grids of two comparisons: one is found at the first analysis, one by the last."""
    p = np.array([[[0.02, 0.02], [0.9, 0.9]], [[0.9, 0.04], [0.9, 0.03]]])
    assert found(p, 0.05) == {
        "after analysis 1": 0.5,
        "after analysis 2": 1.0,
        "each comparison when decided": 1.0,
    }


def test_the_committed_rates_are_those_that_are_promised() -> None:
    data = json.loads((RESULTS / "verdict-errors.json").read_text())
    assert data["grids"] == 4000
    assert {row["scores"] for row in data["rows"]} == {*SHAPES}
    for row in data["rows"]:
        assert row["false_differences"] <= AT_MOST
        assert row["false_equivalences"] <= AT_MOST
        assert row["power"] >= 0.77
