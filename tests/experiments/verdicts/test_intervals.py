"""Estimates and intervals, compared with values by hand, with scipy and, if installed, rliable."""

import numpy as np
import pytest
from scipy import stats

from reverie.envs.atari.games import human_normalized
from reverie.experiments.text.formatting import format_number
from reverie.experiments.verdicts.intervals import (
    AGGREGATES,
    Interval,
    bootstrap,
    by_env,
    format_count,
    format_interval,
    format_mean,
    interquartile_mean,
    mean,
    median,
    normalized,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

Scores = dict[tuple[str, int], float]

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
    two = [np.arange(2.0)]
    assert bootstrap(probability_of_improvement, two, two).missing == "n = 2"
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


def test_performance_profiles_equal_those_of_rliable() -> None:
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    x, taus = random_scores(5, 7), np.linspace(0, 4, 9)
    expected, _ = library.create_performance_profile({"ours": x}, taus, reps=10)
    np.testing.assert_allclose(performance_profile(list(x.T), taus), expected["ours"])


def test_a_performance_profile_is_the_share_of_runs_above_a_score() -> None:
    profile = performance_profile(TABLE, np.array([-1.0, 0.0, 0.6, 4.0, 9.0]))
    # By game 3, 3, 3 of 3 runs; 2, 3, 3; 2, 3, 1; 0, 1, 0; none.
    np.testing.assert_allclose(profile, np.array([9, 8, 6, 1, 0]) / 9)


def test_scores_are_formatted_with_three_digits() -> None:
    numbers = (1234.5, 99.96, 9.994, 0.1234, 0.0, -3.14159, float("nan"), -0.0025, 4e-17)
    formatted = ["1,234", "100.0", "9.99", "0.123", "0", "-3.14", "", "-0.0025", "0"]
    assert [format_number(x) for x in numbers] == formatted
    assert format_interval(Interval(2.0, 1.0, 3.0), "points") == "+2.00 (1.00 to 3.00)"
    assert format_interval(Interval(0.5, missing="n = 1")) == "0.500 (no interval: n = 1)"


def test_steps_are_formatted_by_their_size() -> None:
    steps = (0, 300, 3_000, 500_224, 2_500_000)
    assert [format_count(x) for x in steps] == ["0", "300", "3k", "500.2k", "2.5M"]


def test_a_mean_has_the_number_of_its_scores_and_an_error_from_three_on() -> None:
    assert format_mean([1.0, 3.0, 5.0]) == "3.00 ± 1.15 (3 seeds)"
    assert format_mean([1.0, 3.0]) == "2.00 (2 seeds)"
    assert format_mean([1.0]) == "1.00 (1 seed)"
    assert format_mean([2.0, 2.0, 2.0], "episode") == "2.00 (3 episodes, equal)"
    assert format_mean([2.0, np.inf, 1.0]) == "inf (3 seeds)"
