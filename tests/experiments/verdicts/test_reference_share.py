"""Shares of a reference's gain: how variants are matched, and where there is no share."""

import numpy as np
import pytest
from scipy import stats

from reverie.experiments.verdicts.intervals import Key
from reverie.experiments.verdicts.reference_share import ReferenceShare, reference_shares
from reverie.experiments.verdicts.verdict import decide
from reverie.experiments.verdicts.verdict_rule import VerdictRule

CHOICES = {
    "null": {"bonus": "none", "agent.planner": "reactive"},
    "simhash": {"bonus": "simhash", "agent.planner": "reactive"},
    "counts": {"bonus": "true-counts", "agent.planner": "reactive"},
    "straw": {"bonus": "none", "agent.planner": "straw"},
    "both": {"bonus": "simhash", "agent.planner": "straw"},
}
REFERENCES = {name: {"bonus": "true-counts"} if name == "counts" else {}
              for name in CHOICES}  # fmt: skip
GAINS = {"null": 0.0, "simhash": 3.0, "counts": 6.0, "straw": 1.0, "both": 4.0}


def scores(gains: dict[str, float] = GAINS, n: int = 12) -> dict[str, dict[Key, float]]:
    rng = np.random.default_rng(0)
    return {
        name: {("deep-sea", seed): gain + x for seed, x in enumerate(rng.standard_normal(n))}
        for name, gain in gains.items()
    }


def shares(of: dict[str, dict[Key, float]]) -> list[ReferenceShare]:
    return reference_shares(of, CHOICES, REFERENCES, decide(of, VerdictRule()))


def test_a_share_is_the_ratio_of_gains_with_fiellers_interval() -> None:
    of = scores()
    (share,) = shares(of)
    assert (share.role, share.model, share.reference) == ("bonus", "simhash", "counts")
    assert (share.env_name, share.pairs) == ("deep-sea", 12)
    null, model, reference = (np.array([*of[x].values()]) for x in ("null", "simhash", "counts"))
    assert share.means == pytest.approx((null.mean(), model.mean(), reference.mean()))
    gain, of_reference = model - null, reference - null
    assert share.share.estimate == pytest.approx(gain.mean() / of_reference.mean())
    (level,) = (x.level for x in decide(of, VerdictRule()) if x.variant == "counts")
    for bound in (share.share.low, share.share.high):
        assert stats.ttest_1samp(gain - bound * of_reference, 0).pvalue == pytest.approx(level)


def test_a_share_may_exceed_all_of_the_gain() -> None:
    (share,) = shares(scores(GAINS | {"simhash": 9.0}))
    assert share.share.low > 1


@pytest.mark.parametrize(
    ("gain", "missing"),
    [
        (0.0, "the reference's gain is not told"),
        (-6.0, "the reference hurts"),
    ],
)
def test_there_is_no_share_of_a_gain_that_is_not_told(gain: float, missing: str) -> None:
    (share,) = shares(scores(GAINS | {"counts": gain}))
    assert (share.share.missing, np.isnan(share.share.estimate)) == (missing, True)


def test_missing_runs_and_equal_ones_have_no_share() -> None:
    of = scores()
    few = of | {"simhash": dict([*of["simhash"].items()][:2])}
    assert [x.share.missing for x in shares(few)] == ["n = 2"]
    equal = of | {"simhash": of["null"]}
    assert "are equal" in shares(equal)[0].share.missing
    assert shares(of | {"simhash": {}}) == []
    infinite = of | {"simhash": of["simhash"] | {("deep-sea", 0): np.inf}}
    assert shares(infinite)[0].share.missing == "a score is not finite"


def test_a_reference_within_an_agent_is_of_the_agents_choice() -> None:
    of = {name: x for name, x in scores().items() if name in ("null", "simhash", "counts")}
    choices = {
        "null": {"agent": "dqn"},  # which has no predictor
        "simhash": {"agent": "dyna", "agent.predictor": "small-mlp"},
        "counts": {"agent": "dyna", "agent.predictor": "emulator"},
    }
    references = {"null": {}, "simhash": {}, "counts": {"agent.predictor": "emulator"}}
    (share,) = reference_shares(of, choices, references, decide(of, VerdictRule()))
    assert (share.role, share.model, share.reference) == ("agent", "simhash", "counts")
