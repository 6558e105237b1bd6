"""Verdicts: by hand, never in contradiction to their intervals, and right where scores are odd."""

import itertools

import numpy as np
import pytest
from scipy import stats

from reverie.experiments.verdicts.intervals import Interval, Key
from reverie.experiments.verdicts.verdict import Verdict, decide, decide_table
from reverie.experiments.verdicts.verdict_rule import Delta, VerdictRule

Scores = dict[Key, float]
SEQUENTIAL = VerdictRule(analyses=(4, 8, 12))


def runs(values: object, env: str = "env") -> Scores:
    return {(env, seed): float(x) for seed, x in enumerate(np.asarray(values, float))}


def one(variant: object, baseline: object, rule: VerdictRule = VerdictRule()) -> Verdict:  # noqa: B008
    (verdict,) = decide({"baseline": runs(baseline), "variant": runs(variant)}, rule)
    return verdict


def noise(seed: int, n: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def test_one_comparison_is_the_paired_t_test_and_two_one_sided_ones() -> None:
    v, b = 10.4 + noise(0), 10 + noise(1)
    verdict = one(v, b)
    expected = stats.ttest_rel(v, b)
    interval = expected.confidence_interval(0.95)
    assert verdict.p == pytest.approx(expected.pvalue)
    bounds = (verdict.difference.low, verdict.difference.high)
    assert bounds == pytest.approx((interval.low, interval.high))
    sides = [stats.ttest_1samp(x, 0, alternative="greater").pvalue
             for x in (v - 0.75 * b, 1.25 * b - v)]  # fmt: skip
    assert verdict.equivalence_p == pytest.approx(max(sides))
    assert (verdict.label, verdict.text) == ("no difference", "no difference larger than 25%")
    assert verdict.pairs == 12
    assert verdict.baseline == pytest.approx(b.mean())
    in_points = one(v, b, VerdictRule(delta=Delta.parse("1.5")))
    sides = [stats.ttest_1samp(x + 1.5, 0, alternative="greater").pvalue for x in (v - b, b - v)]
    assert in_points.equivalence_p == pytest.approx(max(sides))


@pytest.mark.parametrize("rule", [VerdictRule(), SEQUENTIAL, VerdictRule(delta=Delta(2.0, False))])
def test_scores_of_the_other_sign_give_the_mirrored_verdict(rule: VerdictRule) -> None:
    mirrored = {"helps": "hurts", "hurts": "helps"}
    for shift in (0.0, 0.4, 1.5, 5.0):
        v, b = 10 + shift + noise(0), 10 + noise(1)
        verdict, other = one(v, b, rule), one(-v, -b, rule)
        assert other.label == mirrored.get(verdict.label, verdict.label)
        assert other.equivalence_p == pytest.approx(verdict.equivalence_p)
        for ours, theirs in (
            (verdict.difference, other.difference),
            (verdict.equivalence, other.equivalence),
        ):
            assert (-theirs.high, -theirs.low) == pytest.approx((ours.low, ours.high))


def tables() -> list[tuple[list[Verdict], VerdictRule]]:
    rules = (VerdictRule(), SEQUENTIAL, VerdictRule.sequential(12, delta=Delta(1.0, False)))
    effects = (0.0, 0.3, 0.8, 1.5, -1.0, 4.0)
    made = []
    for rule, seed, n in itertools.product(rules, range(8), (3, 7, 12)):
        rng = np.random.default_rng(seed)
        sides = {"baseline": runs(8 + rng.standard_normal(n))}
        for i, effect in enumerate(effects):
            sides[f"{i}"] = runs(8 + effect + rng.standard_normal(n))
        made.append((decide(sides, rule), rule))
    return made


def test_a_label_never_contradicts_its_interval() -> None:
    labels = set()
    for verdicts, rule in tables():
        for x in verdicts:
            labels.add(x.label)
            side = int(x.difference.low > 0) - int(x.difference.high < 0)
            assert side == {"helps": 1, "hurts": -1}.get(x.label, 0)
            if x.label in ("no difference", "cannot tell") and not x.equivalence.missing:
                delta = rule.delta.amount
                within = -delta < x.equivalence.low and x.equivalence.high < delta
                assert within == (x.label == "no difference")
            assert x.decided == (not x.reason) == (x.label != "cannot tell")
    assert len(labels) == 4


def test_a_decided_comparison_stays_decided() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        sides = {str(i): 5 + 0.5 * i + rng.standard_normal(40) for i in range(5)}
        rule, before = VerdictRule.sequential(40), [False] * 4
        for n in (3, *rule.analyses):
            verdicts = decide({name: runs(x[:n]) for name, x in sides.items()}, rule)
            now = [x.decided for x in verdicts]
            assert all(later for earlier, later in zip(before, now, strict=True) if earlier)
            before = now


def test_seeds_between_two_analyses_do_not_count() -> None:
    v, b = 12 + noise(0), 10 + noise(1)
    at_four, at_seven = (one(v[:n], b[:n], SEQUENTIAL) for n in (4, 7))
    assert at_four == at_seven
    three = one(v[:3], b[:3], SEQUENTIAL)
    assert (three.label, three.p, three.pairs) == ("cannot tell", 1, 3)
    assert three.reason == "There are 3 pairs; the first analysis takes 4."


def test_more_comparisons_make_each_harder() -> None:
    b = runs(10 + noise(1))
    alone = decide({"b": b, "v": runs(11 + noise(0))}, VerdictRule())[0]
    others = {f"{i}": runs(10 + noise(i + 2)) for i in range(20)}
    among = decide({"b": b, "v": runs(11 + noise(0)), **others}, VerdictRule())[0]
    assert alone.p == among.p
    assert 0.001 < alone.p < 0.05
    assert (alone.label, among.label) == ("helps", "no difference")
    assert among.difference.low < 0 < alone.difference.low


def test_undecided_runs_tell_what_they_could_have_told() -> None:
    verdict = one(10.5 + 2 * noise(0), 10 + 2 * noise(1), VerdictRule(delta=Delta(0.05, True)))
    deviation = (2 * noise(0) - 2 * noise(1)).std(ddof=1)
    expected = stats.nct.isf(0.8, 11, verdict.smallest_effect / deviation * 12**0.5)
    assert expected == pytest.approx(stats.t.isf(0.025, 11), rel=1e-6)
    assert verdict.seeds_needed is not None
    assert verdict.seeds_needed > 12
    assert f"takes about {verdict.seeds_needed:,} pairs" in verdict.reason
    assert "12 pairs tell a difference of " in verdict.reason


def test_equal_pairs_are_no_evidence_of_a_difference() -> None:
    b = 10 + noise(0)
    verdict = one(b, b)
    assert (verdict.label, verdict.p, verdict.equivalence_p) == ("cannot tell", 1, 1)
    assert verdict.reason == "All 12 pairs are equal."
    assert verdict.difference == Interval(0.0, missing="no difference seen")


def test_rounding_is_no_difference() -> None:
    # 0.1 + 0.2 for every seed, by two sums that differ in the last digit
    verdict = one(np.full(12, 0.1 + 0.2), np.full(12, 0.3))
    assert (verdict.label, verdict.p) == ("cannot tell", 1)
    assert verdict.reason == "All 12 pairs are equal."


@pytest.mark.parametrize("sign", [1, -1])
def test_equal_differences_are_told_by_their_signs_alone(sign: int) -> None:
    verdict = one(np.full(12, 0.99 * sign), np.zeros(12))
    assert verdict.label == ("helps" if sign > 0 else "hurts")
    assert (verdict.p, verdict.difference.missing) == (2 * 0.5**12, "equal differences")
    few = one(np.full(3, 0.99 * sign), np.zeros(3))
    assert (few.label, few.p) == ("cannot tell", 0.25)
    assert few.reason == "All differences are equal. A sign test takes 6."


@pytest.mark.parametrize(
    ("variant", "missing", "reason"),
    [
        ([5.0], "n = 1", "There is 1 pair; a test takes 3."),
        ([5.0, 6.0], "n = 2", "There are 2 pairs; a test takes 3."),
        ([1.0, np.nan, 3.0], "a score is not finite", "A score of the variant is nan."),
        ([1.0, np.inf, 3.0, 4.0], "a score is not finite", "A score of the variant is inf."),
        ([], "n = 0", "No seed has a run of both."),
    ],
)
def test_scores_that_allow_no_test(variant: list[float], missing: str, reason: str) -> None:
    verdict = one(variant, 1 + np.arange(5.0) ** 2)
    assert (verdict.label, verdict.p, verdict.equivalence_p) == ("cannot tell", 1, 1)
    assert (verdict.difference.missing, verdict.reason) == (missing, reason)
    assert verdict.pairs == len(variant)


def test_a_score_that_is_not_finite_keeps_earlier_decisions() -> None:
    v, b = 20 + noise(0), 10 + noise(1)
    v[9] = np.inf
    verdict = one(v, b, SEQUENTIAL)
    assert verdict.label == "helps"
    earlier = one(v[:8], b[:8], SEQUENTIAL)
    assert (verdict.difference, verdict.p) == (earlier.difference, earlier.p)


def test_runs_are_paired_by_seed_and_the_rest_does_not_count() -> None:
    v, b = runs(12 + noise(0)), runs(10 + noise(1))
    for seed in (0, 5):
        del v["env", seed]
    del b["env", 7]
    shared = sorted(v.keys() & b.keys())
    (verdict,) = decide({"b": b, "v": v}, VerdictRule())
    expected = stats.ttest_rel([v[x] for x in shared], [b[x] for x in shared])
    assert verdict.pairs == 9
    assert verdict.p == pytest.approx(expected.pvalue)
    shuffled = dict(sorted(v.items(), key=lambda item: -item[1]))
    assert decide({"b": b, "v": shuffled}, VerdictRule()) == [verdict]


def test_a_baseline_of_mean_0_has_no_relative_delta() -> None:
    v, b = noise(0), np.zeros(12)
    verdict = one(v, b)
    assert verdict.equivalence_p == 1
    assert "give --delta NUMBER" in verdict.reason
    assert one(0.2 * v, b, VerdictRule(delta=Delta(1.0, False))).label == "no difference"


def test_all_envs_together_take_games_with_human_scores() -> None:
    games = {"pong": "pong", "qbert": "qbert"}
    b = runs(noise(0), "pong") | runs(500 + 100 * noise(1), "qbert")
    v = runs(9 + noise(2), "pong") | runs(900 + 100 * noise(3), "qbert")
    together, pong, qbert = decide({"b": b, "v": v}, VerdictRule(), games)
    assert (together.env_name, together.unit) == ("all envs", "human-normalized")
    assert together.difference.estimate == pytest.approx(
        (pong.difference.estimate / (14.6 + 20.7) + qbert.difference.estimate / (13455 - 163.9)) / 2
    )
    points = VerdictRule(delta=Delta(1.0, False))
    together = decide({"b": b, "v": b | runs(0.3 + noise(0) + 0.1 * noise(5), "pong")}, points,
                      games)[0]  # fmt: skip
    assert together.equivalence_p == 1, "delta is in points of a game"
    assert len(decide({"b": b, "v": v}, VerdictRule(), {"pong": "pong"})) == 2
    del v["pong", 3]
    unequal = decide({"b": b, "v": v}, VerdictRule(), games)
    assert [x.pairs for x in unequal] == [11, 11, 12]


def test_an_env_with_equal_pairs_leaves_a_verdict_about_all_envs() -> None:
    """Neither agent scores in Venture: the t statistic is that of the other game alone."""
    games = {"pong": "pong", "venture": "venture"}
    b, v = runs(noise(0), "pong"), runs(9 + noise(2), "pong")
    nothing = runs(np.zeros(12), "venture")
    together, pong, venture = decide({"b": b | nothing, "v": v | nothing}, VerdictRule(), games)
    assert (together.label, pong.label, venture.label) == ("helps", "helps", "cannot tell")
    assert together.p == pytest.approx(pong.p)
    assert together.difference.estimate == pytest.approx(pong.difference.estimate / 35.3 / 2)
    shifted = runs(np.full(12, 100.0), "venture")
    assert decide({"b": b | nothing, "v": v | shifted}, VerdictRule(), games)[0].label != "helps"


def test_a_table_without_rows_is_empty() -> None:
    assert decide({"baseline": runs(noise(0))}, VerdictRule()) == []
    assert decide_table([], VerdictRule(), {}) == []
