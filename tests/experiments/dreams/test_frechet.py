"""The Fréchet distance: of equal sets, of Gaussians, and of frames without their objects."""

import pytest
import torch
from torch import Tensor

from reverie.experiments.dreams.frechet import frechet_distance, random_features


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(mean: Tensor, covariance: Tensor, n: int = 50, seed: int = 0) -> Tensor:
    """A set with exactly this sample mean and covariance."""
    x = normal(n, len(mean), seed=seed)
    x -= x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    shifted: Tensor = mean + white @ torch.linalg.cholesky(covariance).T
    return shifted


def test_equal_sets_have_no_distance() -> None:
    x = normal(40, 8)
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-9)
    few = normal(5, 8)  # a singular covariance
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_independent_gaussians_has_a_closed_form() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 1.0]).double()
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    x, y = with_moments(0 * mean, a.diag()), with_moments(mean, b.diag(), n=70, seed=1)
    expected = float((mean.square() + (a.sqrt() - b.sqrt()).square()).sum())
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_the_distance_of_correlated_gaussians_is_that_of_their_matrices() -> None:
    from scipy.linalg import sqrtm

    factors = [normal(4, 4, seed=i) for i in (2, 3)]
    a, b = (f @ f.T + 0.1 * torch.eye(4) for f in factors)
    zero = torch.zeros(4, dtype=torch.float64)
    x, y = with_moments(zero, a), with_moments(zero, b, seed=1)
    overlap = sqrtm((a @ b).numpy()).real.trace()
    expected = float(a.trace() + b.trace()) - 2 * overlap
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-7)


def test_frames_without_their_object_are_far_from_those_with_it() -> None:
    median = torch.full((1, 30, 20), 80, dtype=torch.uint8)
    frames = median.repeat(60, 1, 1, 1)
    for i, x in enumerate(frames):
        x[0, i % 28 : i % 28 + 2, i % 18 : i % 18 + 2] = 200
    features = random_features(frames, median)
    assert torch.equal(features, random_features(frames, median)), "always the same network"
    assert not random_features(median[None], median).any()
    halves = frechet_distance(features[::2], features[1::2])
    erased = frechet_distance(features, random_features(median.repeat(60, 1, 1, 1), median))
    assert erased > 3 * halves
    color = frames.repeat(1, 3, 1, 1)
    assert random_features(color, median.repeat(3, 1, 1)).shape == features.shape
