"""Bounds, estimators and evidence compared with closed forms on a linear-Gaussian model.

z ~ N(0, 1), x | z ~ N(w z + b, s^2 I) in two dimensions: evidence, posterior, Kullback-Leibler and
Renyi divergences have closed forms, and expectations over two codes are computed by quadrature.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from reverie.world_models.inference.bounds import (
    ELBO,
    IWAE,
    VR_MAX,
    LatentVariableModel,
    Weights,
    analytic_elbo,
    bound,
)
from reverie.world_models.inference.estimators import Baseline, nvil, pathwise, vimco
from reverie.world_models.inference.evidence import active_units, bits_per_dimension, log_evidence

X = torch.tensor([0.7, -0.4], dtype=torch.float64)


class LinearGaussian(torch.nn.Module, LatentVariableModel):
    """A linear-Gaussian model with a suboptimal posterior q(z | x) = N(u x + v, e^r).

    Each frame of a batch may have its own copy of the parameters, and hence its own gradient.
    """

    def __init__(self, copies: int = 1) -> None:
        super().__init__()

        def parameter(*values: float) -> torch.nn.Parameter:
            row = torch.tensor([values], dtype=torch.float64)
            return torch.nn.Parameter(row.repeat(copies, 1))

        self.w, self.b = parameter(0.9, 0.5), parameter(0.1, -0.2)
        self.u, self.v, self.r = parameter(0.3, 0.1), parameter(-0.2), parameter(-0.6)
        self.s = 0.7

    def prior(self) -> Distribution:
        zero = self.w.new_zeros(1)
        return Independent(Normal(zero, zero + 1), 1)

    def posterior(self, x: Tensor) -> Distribution:
        mean = (x * self.u).sum(-1, keepdim=True) + self.v
        return Independent(Normal(mean, self.r.exp().expand_as(mean)), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z * self.w + self.b, self.s), 1)

    def log_evidence(self, x: Tensor) -> Tensor:
        w = self.w[0]
        covariance = torch.outer(w, w) + self.s**2 * torch.eye(2, dtype=torch.float64)
        distribution: Distribution = MultivariateNormal(self.b[0], covariance)
        return distribution.log_prob(x)

    def gaussians(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean and variance of q(z | x), and of the true posterior."""
        w, b, u, v, r = (parameter[0] for parameter in (self.w, self.b, self.u, self.v, self.r))
        variance = 1 / (1 + w @ w / self.s**2)
        return x @ u + v[0], (2 * r[0]).exp(), variance * ((x - b) @ w) / self.s**2, variance

    def elbo(self, x: Tensor) -> Tensor:
        """Return the evidence minus KL(q || true posterior), both in closed form."""
        q_mean, q_variance, mean, variance = self.gaussians(x)
        ratio = q_variance / variance
        kl = (ratio - 1 - ratio.log() + (q_mean - mean) ** 2 / variance) / 2
        return self.log_evidence(x) - kl

    def renyi(self, x: Tensor, alpha: float) -> Tensor:
        """Return the evidence minus the Renyi divergence (van Erven & Harremoes 2014, eq. 10)."""
        q_mean, q_variance, mean, variance = self.gaussians(x)
        mixed = (1 - alpha) * q_variance + alpha * variance
        between = torch.log(mixed / (q_variance ** (1 - alpha) * variance**alpha))
        distance = alpha * (q_mean - mean) ** 2 / (2 * mixed)
        return self.log_evidence(x) - (distance + between / (2 * (1 - alpha)))


def sample_weights(model: LinearGaussian, samples: int, repeats: int, seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    return model.weigh(X.expand(repeats, 2), samples, pathwise=True)


def test_bounds_of_a_table_computed_by_hand() -> None:
    log_weights = torch.tensor([[math.log(1.0), 0.0], [math.log(4.0), 0.0]])
    for alpha, expected in [
        (1.0, math.log(2)),  # the geometric mean
        (0.0, math.log(2.5)),  # the arithmetic mean
        (-1.0, math.log(17 / 2) / 2),  # the quadratic mean
        (2.0, math.log(1.6)),  # the harmonic mean
        (-math.inf, math.log(4)),
        (math.inf, math.log(1)),
    ]:
        assert bound(log_weights, alpha).tolist() == pytest.approx([expected, 0.0], abs=1e-6)


@torch.no_grad()
def test_a_bound_decreases_in_alpha() -> None:
    log_weights = sample_weights(LinearGaussian(), 8, 500).log_weights()
    alphas = [VR_MAX, -5.0, -1.0, IWAE, 0.5, 0.999, ELBO, 1.001, 3.0, math.inf]
    bounds = torch.stack([bound(log_weights, alpha) for alpha in alphas])
    assert (bounds.diff(dim=0) <= 1e-9).all()
    assert float(bounds[5, 0]) == pytest.approx(float(bounds[6, 0]), abs=1e-2)


@pytest.mark.parametrize("alpha", [ELBO, IWAE, 0.5, -2.0, VR_MAX])
@pytest.mark.parametrize("samples", [1, 5])
def test_with_the_true_posterior_every_bound_is_the_evidence(alpha: float, samples: int) -> None:
    model = LinearGaussian()
    _, _, mean, variance = model.gaussians(X)
    with torch.no_grad():
        model.u.zero_()
        model.v.copy_(mean)
        model.r.copy_(variance.log() / 2)
    bounds = bound(sample_weights(model, samples, 20).log_weights(), alpha)
    torch.testing.assert_close(bounds, model.log_evidence(X).expand(20), rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_elbo_is_the_evidence_minus_the_kl() -> None:
    model = LinearGaussian()
    weights = sample_weights(model, 1, 200_000)
    each = bound(weights.log_weights(), ELBO)
    assert_mean(each, model.elbo(X))
    q, p = model.posterior(X[None]), model.prior()
    kl = torch.distributions.kl_divergence(q.base_dist, p.base_dist)  # type: ignore[attr-defined]
    analytic = analytic_elbo(weights.log_likelihood, kl.expand(1, 200_000, 1))
    assert_mean(analytic, model.elbo(X))


@pytest.mark.parametrize("alpha", [IWAE, 0.5, 2.0])
@torch.no_grad()
def test_with_many_samples_a_bound_is_the_evidence_minus_the_renyi_divergence(alpha: float) -> None:
    model = LinearGaussian()
    expected = model.log_evidence(X) if alpha == IWAE else model.renyi(X, alpha)
    bounds = bound(sample_weights(model, 20_000, 30).log_weights(), alpha)
    assert_mean(bounds, expected, bias=1e-3)


@torch.no_grad()
def test_the_importance_weighted_bound_increases_with_samples_to_the_evidence() -> None:
    model = LinearGaussian()
    counts = [(1, 100_000), (2, 100_000), (4, 100_000), (16, 100_000), (64, 30_000)]
    means = [bound(sample_weights(model, *count).log_weights(), IWAE).mean() for count in counts]
    assert float(means[0]) == pytest.approx(float(model.elbo(X)), abs=0.01)
    assert all(low + 1e-3 < high for low, high in pairwise(means))
    assert means[-1] < model.log_evidence(X)
    assert float(model.log_evidence(X) - means[-1]) < 0.01


def test_beta_and_free_bits_change_the_kl_term() -> None:
    log_likelihood = torch.tensor([[-3.0, -5.0], [-1.0, -7.0]])
    kl = torch.tensor([[[0.1, 2.0], [0.3, 4.0]]])  # means 0.2 and 3
    plain = analytic_elbo(log_likelihood, kl)
    torch.testing.assert_close(plain, torch.tensor([-2 - 2.1, -6 - 4.3]))
    weighted = analytic_elbo(log_likelihood, kl, beta=4.0)
    torch.testing.assert_close(weighted, torch.tensor([-2 - 8.4, -6 - 17.2]))
    free = analytic_elbo(log_likelihood, kl, free_bits=0.5)
    torch.testing.assert_close(free, torch.tensor([-2 - 2.5, -6 - 4.5]))
    log_prior, log_posterior = torch.full((2, 2), -2.0), torch.full((2, 2), -1.5)
    weights = Weights(log_likelihood, log_prior, log_posterior, log_prior, log_posterior)
    torch.testing.assert_close(weights.log_weights(4.0), log_likelihood - 2)


def gradients(model: LinearGaussian, value: Tensor) -> Tensor:
    """Return the gradient for each copy of the parameters, [copies, 8]."""
    rows = torch.autograd.grad(value.sum(), [model.w, model.b, model.u, model.v, model.r])
    return torch.cat(rows, 1)


def quadrature(model: LinearGaussian, alpha: float) -> Tensor:
    """Return the expected bound with two codes, by Gauss-Hermite quadrature over their noise."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(60)
    noise = torch.cartesian_prod(torch.tensor(nodes), torch.tensor(nodes)).T[..., None]
    mass2 = torch.tensor(mass / mass.sum())
    q = model.posterior(X[None])
    z = q.mean + q.stddev * noise
    log_posterior = q.log_prob(z)
    weights = Weights(
        model.likelihood(z).log_prob(X), model.prior().log_prob(z), log_posterior, z, log_posterior
    )
    return (torch.outer(mass2, mass2).flatten() * bound(weights.log_weights(), alpha)).sum()


ESTIMATORS: dict[str, Callable[[Weights, float], Tensor]] = {
    "pathwise": lambda w, alpha: pathwise(w.log_weights(), alpha=alpha),
    "nvil": lambda w, alpha: nvil(
        w.log_weights(), w.log_score, torch.full_like(w.log_prior[0], -2.0), alpha=alpha
    ),
    "vimco": lambda w, alpha: vimco(w.log_weights(), w.log_score, alpha=alpha),
}


@pytest.mark.parametrize("alpha", [ELBO, IWAE, 0.5])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_unbiased(name: str, alpha: float) -> None:
    model, repeats = LinearGaussian(), 50_000
    exact = gradients(model, quadrature(model, alpha))[0]
    if alpha == ELBO:
        closed_form = gradients(model, model.elbo(X))[0]
        torch.testing.assert_close(exact, closed_form, rtol=1e-6, atol=1e-8)
    copies = LinearGaussian(repeats)
    torch.manual_seed(1)
    weights = copies.weigh(X.expand(repeats, 2), 2, pathwise=name == "pathwise")
    value = ESTIMATORS[name](weights, alpha)
    torch.testing.assert_close(value, bound(weights.log_weights(), alpha))
    each = gradients(copies, value)
    error = each.std(0) / math.sqrt(repeats)
    assert ((each.mean(0) - exact).abs() < 4.5 * error + 1e-9).all()
    assert float(error.max()) < 0.02, "small enough to detect a bias"


def test_vimco_has_less_gradient_noise_than_nvil_without_a_baseline() -> None:
    model = LinearGaussian(2000)
    torch.manual_seed(0)
    weights = model.weigh(X.expand(2000, 2), 8)
    no_baseline = torch.zeros(2000, dtype=torch.float64)
    values = [
        nvil(weights.log_weights(), weights.log_score, no_baseline, alpha=IWAE),
        vimco(weights.log_weights(), weights.log_score, alpha=IWAE),
    ]
    noise = [
        sum(
            float(row.var(0).sum())
            for row in torch.autograd.grad(
                value.sum(), [model.u, model.v, model.r], retain_graph=True
            )
        )
        for value in values
    ]
    assert noise[1] < noise[0] / 4


def test_a_baseline_learns_to_predict_the_bound() -> None:
    torch.manual_seed(0)
    baseline = Baseline(3)
    optimizer = torch.optim.Adam(baseline.parameters(), lr=1e-2)
    for _ in range(600):
        features = torch.randn(64, 3)
        target = 500 * features[:, 0] - 3000
        prediction = baseline(features)
        optimizer.zero_grad()
        loss = -nvil(target[None], torch.zeros(1, 64), prediction).mean()
        loss.backward()
        optimizer.step()
        baseline.update_statistics(target)
    features = torch.randn(1000, 3)
    error = baseline(features).detach() - (500 * features[:, 0] - 3000)
    assert float(error.square().mean().sqrt()) < 100  # 500 for the best constant


def test_vimco_refuses_a_single_sample() -> None:
    with pytest.raises(ValueError, match="2 or more samples, got 1"):
        vimco(torch.zeros(1, 3), torch.zeros(1, 3))


def test_codes_without_a_pathwise_gradient_are_scored() -> None:
    class BernoulliPosterior(LinearGaussian):
        def posterior(self, x: Tensor) -> Distribution:
            return Independent(torch.distributions.Bernoulli(logits=x), 1)

    weights = BernoulliPosterior().weigh(X[None], 2, pathwise=True)
    assert torch.equal(weights.log_score, weights.log_posterior)
    reparameterized = LinearGaussian().weigh(X[None], 2, pathwise=True)
    assert not reparameterized.log_score.any()


@torch.no_grad()
def test_the_standard_error_of_the_evidence_is_calibrated() -> None:
    model = LinearGaussian()
    estimate, error = log_evidence(sample_weights(model, 2000, 1000).log_weights())
    # Standard scores of 1,000 estimates: about normal, so 95 % lie within 1.96.
    scores = (estimate - model.log_evidence(X)) / error
    assert abs(float(scores.mean())) < 0.15
    assert 0.9 < float(scores.std()) < 1.1
    assert 0.93 < float((scores.abs() < 1.96).double().mean()) < 0.97


def test_bits_per_dimension_of_a_uniform_model() -> None:
    discrete = torch.tensor([-100 * math.log(256)])
    assert float(bits_per_dimension(discrete, 100)) == pytest.approx(8)
    density = torch.zeros(1)  # density 1 on pixels in 0..1
    assert float(bits_per_dimension(density, 100, bin_width=1 / 256)) == pytest.approx(8)


def test_a_latent_is_active_if_its_posterior_mean_varies() -> None:
    means = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    means = means * torch.tensor([1.0, 0.05, 0.2]) + 5
    assert active_units(means).tolist() == [True, False, True]


def assert_mean(each: Tensor, expected: Tensor, bias: float = 0.0) -> None:
    """Assert that the mean is within 4.5 standard errors of the expected value."""
    error = float(each.std()) / math.sqrt(len(each))
    assert abs(float(each.mean() - expected)) < 4.5 * error + bias
    assert error < 0.01
