"""Estimates and intervals, compared with values by hand, with scipy and, if installed, rliable."""

from collections.abc import Hashable

import numpy as np
import pytest
from scipy import stats

from reverie.envs.atari.games import human_normalized
from reverie.experiments.verdicts.intervals import (
    AGGREGATES,
    Interval,
    bootstrap,
    by_env,
    format_interval,
    format_mean,
    format_number,
    interquartile_mean,
    mean,
    mean_difference,
    median,
    normalized,
    optimality_gap,
    paired_differences,
    probability_of_improvement,
)

Scores = dict[tuple[str, Hashable], float]

# Three games; by hand: means 1, 4 and 0.5.
TABLE = [np.array([0.0, 1.0, 2.0]), np.array([3.0, 4.0, 5.0]), np.array([0.25, 0.75, 0.5])]


def random_scores(runs: int, games: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(1.5, 1.0, (runs, games))


def test_aggregates_by_hand() -> None:
    assert mean(TABLE) == pytest.approx((1 + 4 + 0.5) / 3)
    assert median(TABLE) == 1
    # Nine runs in order: 0 .25 | .5 .75 1 2 3 | 4 5, two cut at either end.
    assert interquartile_mean(TABLE) == pytest.approx((0.5 + 0.75 + 1 + 2 + 3) / 5)
    # Capped at 1: (0 + 1 + 1) / 3, 1 and 0.5.
    assert optimality_gap(TABLE) == pytest.approx(1 - (2 / 3 + 1 + 0.5) / 3)


def test_the_interquartile_mean_is_a_trimmed_mean() -> None:
    runs = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e9])
    assert interquartile_mean([runs]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    for n in range(1, 30):
        x = random_scores(n, 1)[:, 0]
        assert interquartile_mean([x]) == pytest.approx(stats.trim_mean(x, 0.25))


def test_games_have_equal_weight_for_any_number_of_seeds() -> None:
    assert mean([np.array([0.0]), np.array([1.0, 1.0, 1.0])]) == pytest.approx(0.5)


def test_probability_of_improvement_by_hand_and_by_mann_whitney() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    # Of six pairs: 1>0, 2>0, 3>2, 3>0 won, 2=2 drawn, 1<2 lost.
    assert probability_of_improvement([x], [y]) == pytest.approx(4.5 / 6)
    assert probability_of_improvement([y], [x]) == pytest.approx(1.5 / 6)
    assert probability_of_improvement([x, y], [y, x]) == pytest.approx(0.5)
    a, b = random_scores(7, 1)[:, 0], random_scores(9, 1, seed=1)[:, 0]
    u = stats.mannwhitneyu(a, b).statistic
    assert probability_of_improvement([a], [b]) == pytest.approx(u / 63)


def test_scores_are_normalized_by_the_named_table() -> None:
    raw: Scores = {("ms_pacman", 0): 307.3, ("ms_pacman", 1): 6951.6}
    raw |= {("qbert", 0): 163.9, ("qbert", 1): 26746.1, ("pong", 0): 1.0}
    values = by_env(normalized(raw, {"ms_pacman": "ms_pacman", "qbert": "qbert"}))
    assert values.keys() == {"ms_pacman", "qbert"}, "this pong is no game of Atari"
    np.testing.assert_allclose(values["ms_pacman"], [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(values["qbert"], [0.0, 2.0], atol=1e-12)
    assert values["qbert"][1] == human_normalized("qbert", 26746.1)


def test_paired_differences_are_by_game_and_seed() -> None:
    a: Scores = {("pong", 0): 3.0, ("pong", 1): 5.0, ("qbert", 0): 1.0, ("qbert", 7): 9.0}
    b: Scores = {("pong", 1): 1.0, ("pong", 0): 4.0, ("qbert", 0): 1.5, ("qbert", 8): 0.0}
    differences = paired_differences(a, b)
    assert {game: x.tolist() for game, x in differences.items()} == {
        "pong": [-1, 4],
        "qbert": [-0.5],
    }
    assert paired_differences(a, {}) == {}


def test_the_interval_of_one_game_is_that_of_the_paired_t_test() -> None:
    a, b = random_scores(5, 2).T
    interval = mean_difference([a - b])
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.estimate == pytest.approx((a - b).mean())


def test_the_interval_of_two_games_is_that_of_welchs_t_test() -> None:
    """The mean of two means is half of x - (-y), whose interval Welch's t-test gives."""
    x, y = random_scores(4, 1)[:, 0], random_scores(9, 1, seed=5)[:, 0] * 3
    interval = mean_difference([x, y])
    welch = stats.ttest_ind(x, -y, equal_var=False).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((welch.low / 2, welch.high / 2))


@pytest.mark.parametrize(
    ("differences", "missing"),
    [
        ([[5.0]], "n = 1"),
        ([[-0.001, -0.001]], "n = 2"),
        ([[5.0, 9.0]], "n = 2"),
        ([[0.0, 0.0, 0.0]], "no difference seen"),
        ([[0.0]], "no difference seen"),
        ([[0.99, 0.99, 0.99]], "equal differences"),
        ([[10.0, 10.0, 10.1 - 0.1 + 2e-15]], "equal differences"),
        ([[1e6 + 0.1 - 1e6, 2e6 + 0.1 - 2e6, 0.1]], "equal differences"),
        ([[1.0, 2.0, 3.0], [4.0]], "n = 1 in an env"),
        ([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]], "equal differences in an env"),
        ([[1.0, np.nan, 3.0]], "a score is not finite"),
        ([[np.inf, 1.0, -np.inf]], "a score is not finite"),
    ],
)
def test_there_is_no_interval_without_a_variance(
    differences: list[list[float]], missing: str
) -> None:
    interval = mean_difference([np.array(x) for x in differences])
    assert np.isnan([interval.low, interval.high]).all()
    assert (interval.sign, interval.missing) == (0, missing)
    assert format_interval(interval).endswith(f"(no interval: {missing})")


def test_the_sign_is_that_of_the_whole_interval() -> None:
    assert mean_difference([np.array([-1.0, -1.1, -0.9])]).sign == -1
    assert mean_difference([np.array([1.0, 0.1, 0.2])]).sign == 0, (
        "all are above 0, but there are only three seeds"
    )


def test_the_t_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    draws = [[rng.normal(1, s, n) for s, n in ((1, 3), (5, 4))] for _ in range(2000)]
    coverage = np.mean([(x := mean_difference(d)).low <= 1 <= x.high for d in draws])
    assert 0.93 <= coverage <= 0.98  # slightly wide for few runs


@pytest.mark.parametrize("name", AGGREGATES)
def test_bootstrap_intervals_have_about_their_nominal_coverage(name: str) -> None:
    statistic, rng = AGGREGATES[name], np.random.default_rng(1)
    truth = float(statistic([rng.gamma(2, g / 2, 200_000) for g in (0.5, 1, 2)]))
    covered = []
    for seed in range(150):
        interval = bootstrap(
            statistic, [rng.gamma(2, g / 2, 20) for g in (0.5, 1, 2)], seed=seed, resamples=400
        )
        assert interval.low <= interval.estimate <= interval.high
        covered.append(interval.low <= truth <= interval.high)
    assert 0.86 <= np.mean(covered) <= 0.99


def test_a_bootstrap_resamples_within_games_and_is_seeded() -> None:
    apart = [np.array([0.0, 0.0]), np.array([100.0, 100.0])]
    assert bootstrap(mean, apart).missing == "n = 2 in an env"
    assert bootstrap(mean, [np.zeros(3), np.full(3, 100.0)]).missing == "no variance"
    assert bootstrap(interquartile_mean, [np.array([3.0])]).missing == "n = 1"
    assert bootstrap(mean, [np.array([1.0, np.inf, -np.inf])]).missing == "a score is not finite"
    scores = [random_scores(5, 1)[:, 0], random_scores(3, 1, seed=2)[:, 0]]
    assert bootstrap(mean, scores, seed=3) == bootstrap(mean, scores, seed=3)
    assert bootstrap(mean, scores, seed=3) != bootstrap(mean, scores, seed=4)
    better = bootstrap(probability_of_improvement, [scores[0] + 10], [scores[0]])
    assert (better.estimate, better.missing) == (1, "no variance")


def test_aggregates_equal_those_of_rliable() -> None:
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    x, y = random_scores(5, 7), random_scores(6, 7, seed=1)
    strata = list(x.T), list(y.T)
    assert mean(strata[0]) == pytest.approx(metrics.aggregate_mean(x))
    assert median(strata[0]) == pytest.approx(metrics.aggregate_median(x))
    assert interquartile_mean(strata[0]) == pytest.approx(metrics.aggregate_iqm(x))
    assert optimality_gap(strata[0]) == pytest.approx(metrics.aggregate_optimality_gap(x))
    assert probability_of_improvement(*strata) == pytest.approx(
        metrics.probability_of_improvement(x, y)
    )


def test_scores_are_formatted_with_three_digits() -> None:
    numbers = (1234.5, 99.96, 9.994, 0.1234, 0.0, -3.14159, float("nan"))
    formatted = ["1,234", "100.0", "9.99", "0.123", "0", "-3.14", ""]
    assert [format_number(x) for x in numbers] == formatted
    assert format_interval(Interval(2.0, 1.0, 3.0), "points") == "+2.00 (1.00 to 3.00)"
    assert format_interval(Interval(0.5, missing="n = 1")) == "0.500 (no interval: n = 1)"


def test_a_mean_has_the_number_of_its_scores_and_an_error_from_three_on() -> None:
    assert format_mean([1.0, 3.0, 5.0]) == "3.00 ± 1.15 (3 seeds)"
    assert format_mean([1.0, 3.0]) == "2.00 (2 seeds)"
    assert format_mean([1.0]) == "1.00 (1 seed)"
    assert format_mean([2.0, 2.0, 2.0], "episode") == "2.00 (3 episodes, equal)"
    assert format_mean([2.0, np.inf, 1.0]) == "inf (3 seeds)"
