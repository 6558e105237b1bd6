"""Moments of the true posterior against those of a linear-Gaussian model."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from reverie.world_models.inference.moments import posterior_moments

X = torch.tensor([0.7, -1.0, 2.0])
PRECISION = 1 + 0.9**2 / 0.7**2
"""z ~ N(0, 1), x | z ~ N(0.9 z, 0.7^2): p(z | x) is N(0.9 x / 0.7^2 / PRECISION, 1 / PRECISION)."""


def true_posterior() -> Normal:
    return Normal(0.9 * X / 0.7**2 / PRECISION, torch.full_like(X, PRECISION**-0.5))


def weigh(q: Distribution, samples: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    z = q.sample(torch.Size([samples]))
    log_joint = Normal(0.9 * z, 0.7).log_prob(X) + Normal(0.0, 1.0).log_prob(z)
    return z, log_joint - q.log_prob(z)


def test_moments_of_any_function_are_those_of_the_true_posterior() -> None:
    true = true_posterior()
    z, log_weights = weigh(Normal(true.mean + 0.3, true.stddev * 1.3), 100_000)
    found = posterior_moments(torch.stack([z, 3 * z - 1], 2), log_weights)
    torch.testing.assert_close(found.mean[:, 0], true.mean, rtol=0, atol=0.01)
    torch.testing.assert_close(found.mean[:, 1], 3 * true.mean - 1, rtol=0, atol=0.03)
    torch.testing.assert_close(found.variance[:, 0], true.variance, rtol=0.02, atol=0)
    torch.testing.assert_close(found.variance[:, 1], 9 * true.variance, rtol=0.02, atol=0)
    # ESS / S is 1 / E[w^2] of weights of mean 1, in closed form for Gaussians.
    ratio, shift = 1.3**2, 0.3 / float(true.stddev[0])
    second = ratio / (2 * ratio - 1) ** 0.5 * torch.tensor(shift**2 / (2 * ratio - 1)).exp()
    share = found.effective_samples / 100_000
    torch.testing.assert_close(share, (1 / second).expand(3), rtol=0.02, atol=0)


def test_every_code_of_the_true_posterior_counts_in_full() -> None:
    z, log_weights = weigh(true_posterior(), 50)
    found = posterior_moments(z, log_weights)
    torch.testing.assert_close(found.effective_samples, torch.full((3,), 50.0))
    torch.testing.assert_close(found.mean, z.mean(0))
    torch.testing.assert_close(found.variance, z.var(0, correction=0))


def test_a_code_with_all_the_weight_is_the_mean() -> None:
    log_weights = torch.tensor([[0.0, -2000.0], [-2000.0, 0.0]])
    found = posterior_moments(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), log_weights)
    assert found.mean.tolist() == [1.0, 4.0]
    assert found.variance.tolist() == [0.0, 0.0]
    assert found.effective_samples.tolist() == [1.0, 1.0]
