"""Bayes factors of models, and the two-sample test: laws, power and calibration."""

import math

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.world_models.inference import hypothesis
from reverie.world_models.inference.hypothesis import (
    TwoSampleTest,
    log_bayes_factor,
    two_sample_test,
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_bayes_factor_of_gaussians_is_their_divergence_within_its_error() -> None:
    # x ~ N(0, 1) under N(0, 1) and N(0.5, 1): the divergence is 1/8 nats a sample.
    n, scores = 400, []
    for seed in range(200):
        x = normal(n, seed=seed).double()
        log_p, log_q = -x.square() / 2, -(x - 0.5).square() / 2
        nats, error = log_bayes_factor(log_p, log_q)
        assert log_bayes_factor(log_q, log_p) == pytest.approx((-nats, error))
        scores.append((nats - n / 8) / error)
    found = torch.tensor(scores)
    assert abs(float(found.mean())) < 0.25
    assert float(found.std()) == pytest.approx(1, abs=0.2)
    assert log_bayes_factor(log_p, log_p) == (0.0, 0.0)


@pytest.mark.parametrize(("p", "q"), [(3, 4), (1, 1), (0, 0)])
def test_a_bayes_factor_of_other_frames_is_refused(p: int, q: int) -> None:
    with pytest.raises(UsageError, match=f"{p} and {q} log-probabilities"):
        log_bayes_factor(torch.zeros(p), torch.zeros(q))


@pytest.mark.parametrize("says_y", [0.5, 0.1, 0.0])
def test_the_bayes_factor_of_equal_distributions_has_a_mean_of_at_most_one(says_y: float) -> None:
    """Of n held-out samples, half of either set, of which a classifier calls a share y."""
    n = 60
    correct = torch.zeros(n + 1, dtype=torch.float64)
    for i in range(n // 2 + 1):
        for j in range(n // 2 + 1):
            correct[i + j] += binom.pmf(i, n // 2, 1 - says_y) * binom.pmf(j, n // 2, says_y)
    factors = [TwoSampleTest(k, n).log_bayes_factor for k in range(n + 1)]
    log_factor = torch.tensor(factors, dtype=torch.float64)
    mean = float((correct * log_factor.exp()).sum())
    assert mean <= 1 + 1e-9
    assert float(correct[log_factor > math.log(20)].sum()) <= 1 / 20
    if says_y == 0.5:  # then k is binomial, and its probability under either hypothesis is known
        assert mean == pytest.approx(1)
        ratio = 1 / (n + 1) / binom.pmf(40, n, 0.5)
        assert float(log_factor[40].exp()) == pytest.approx(ratio, rel=1e-6)


def test_equal_gaussians_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypothesis, "UPDATES", 20)
    tests = [
        two_sample_test(normal(100, 3, seed=2 * i), normal(100, 3, seed=2 * i + 1), seed=i)
        for i in range(20)
    ]
    assert all(test.n == 100 for test in tests)
    assert sum(test.log_bayes_factor > math.log(20) for test in tests) <= 3
    assert sum(test.accuracy for test in tests) / 20 == pytest.approx(0.5, abs=0.05)


def test_other_means_and_other_scales_are_told_apart() -> None:
    x, state = normal(300, 2, seed=0), torch.get_rng_state()
    for y in (normal(300, 2, seed=1) + 1.5, 3 * normal(300, 2, seed=1)):
        found = two_sample_test(x, y)
        assert found.accuracy > 0.65
        assert found.log_bayes_factor > math.log(20)
        assert two_sample_test(x, y) == found, "a function of samples and seed"
    assert torch.equal(torch.get_rng_state(), state)


def test_frames_with_the_same_pixels_but_other_patterns_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(2, (200, 8, 8), generator=generator, dtype=torch.uint8)
    y = x[torch.randperm(200, generator=generator)].clone()
    y[:, :, 1::2] = y[:, :, ::2]  # pairs of equal pixels
    found = two_sample_test(x, y)
    assert found.accuracy > 0.9
    stacks = two_sample_test(x.view(100, 2, 8, 8), y.view(100, 2, 8, 8))
    assert stacks.n == 100
    assert stacks.accuracy > 0.9


def test_pairs_are_not_divided_between_training_and_test() -> None:
    """Remembered samples help to recognize neither copies of them nor equal pairs."""
    x = torch.randint(256, (40, 6, 6), generator=torch.Generator().manual_seed(0))
    assert two_sample_test(x, x.clone(), paired=True).accuracy == 0.5
    assert two_sample_test(x, x.clone()).accuracy < 0.4, "copies of what is of the other set"
    assert two_sample_test(x, x + 100, paired=True).accuracy > 0.9


def test_the_larger_set_is_cut() -> None:
    assert two_sample_test(normal(30, 2, seed=0), normal(11, 2, seed=1)).n == 12


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(9, 2), torch.zeros(9, 3), r"shapes \(2,\) and \(3,\)"),
        (torch.zeros(9), torch.zeros(9), "give vectors"),
        (torch.zeros(9, 2), torch.zeros(3, 2), "9 and 3 samples"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        two_sample_test(x, y)
