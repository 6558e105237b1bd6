"""Stochastic variational inference compared with closed forms on a linear-Gaussian model.

z ~ N(0, I) in two dimensions, x | z ~ N(W z, s^2 I) in four. The columns of W are orthogonal, so
the true posterior is a diagonal Gaussian, which refinement can reach and the encoder misses.
"""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.world_models.inference.refine import (
    amortization_gap,
    elbo,
    refinable,
    refine,
    refine_params,
)
from reverie.world_models.latents.binary_vae import BinaryVAEConfig
from reverie.world_models.latents.posteriors import PosteriorName
from reverie.world_models.latents.vae import GaussianVAE, Inference, VAEConfig
from reverie.world_models.representation.variational import VariationalConfig

Start = Literal["amortized", "prior"]
STARTS: tuple[Start, ...] = ("amortized", "prior")


class LinearGaussian(torch.nn.Module):
    """Factor analysis with a poor linear encoder."""

    size = 2

    def __init__(self) -> None:
        super().__init__()
        self.s = 0.5
        self.loading = torch.tensor([[1.0, 0.5], [0.5, -1.0], [1.0, 0.4], [0.4, -1.0]]).double()
        self.encoder = torch.nn.Parameter(torch.tensor([[0.2, 0.0, 0.1, 0.1]] * 2).double())
        self.log_std = torch.nn.Parameter(torch.tensor([-0.3, -1.6]).double())

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(2).double(), 1.0), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z @ self.loading.T, self.s), 1)

    def prior_params(self) -> Tensor:
        return torch.zeros(4).double()

    def posterior_params(self, x: Tensor) -> Tensor:
        return torch.cat([x @ self.encoder.T, self.log_std.expand(len(x), 2)], 1)

    def posterior_from(self, params: Tensor) -> Distribution:
        return Independent(Normal(params[:, :2], params[:, 2:].exp()), 1)

    def codes(self, params: Tensor, noise: Tensor) -> Tensor:
        return params[:, :2] + params[:, 2:].exp() * noise

    def log_evidence(self, x: Tensor) -> Tensor:
        covariance = self.loading @ self.loading.T + self.s**2 * torch.eye(4).double()
        distribution: Distribution = MultivariateNormal(torch.zeros(4).double(), covariance)
        return distribution.log_prob(x)

    def true_params(self, x: Tensor) -> Tensor:
        precision = 1 + self.loading.square().sum(0) / self.s**2
        mean = x @ self.loading / self.s**2 / precision
        return torch.cat([mean, (-precision.log() / 2).expand(len(x), 2)], 1)


def frames(n: int = 6) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0)).double()


def params_of(model: LinearGaussian, posterior: Distribution) -> Tensor:
    return torch.cat([posterior.mean, posterior.stddev.log()], 1)


@pytest.mark.parametrize("start", STARTS)
def test_the_refined_bound_reaches_the_evidence(start: Start) -> None:
    model, x = LinearGaussian(), frames()
    posterior = refine(model, x, start=start, steps=300)
    found = elbo(model, x, params_of(model, posterior), samples=500, seed=9)
    torch.testing.assert_close(found, model.log_evidence(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_with_the_same_noise_the_refined_bound_is_not_below_the_first(
    start: Start, steps: int
) -> None:
    model, x = LinearGaussian(), frames(40)
    first = (
        model.posterior_params(x) if start == "amortized" else model.prior_params().expand(40, 4)
    )
    posterior = refine(model, x, start=start, steps=steps, samples=2, learning_rate=0.5, seed=3)
    bounds = [
        elbo(model, x, params, samples=2, seed=3) for params in (params_of(model, posterior), first)
    ]
    assert (bounds[0] >= bounds[1] - 1e-12).all()
    assert bounds[0].mean() > bounds[1].mean() + 0.1


def test_steps_that_only_harm_are_discarded() -> None:
    model, x = LinearGaussian(), frames()
    best = model.true_params(x)
    assert torch.equal(refine_params(model, x, best, learning_rate=2.0), best)


def test_refinement_is_a_function_of_frame_and_seed() -> None:
    model, x, state = LinearGaussian(), frames(), torch.get_rng_state()
    first, again, other = (refine(model, x, seed=seed).mean for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)
    torch.testing.assert_close(refine(model, x[2:4]).mean, first[2:4])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        assert torch.equal(refine(model, x).mean, first)


def test_refinement_from_the_prior_does_not_read_the_encoder() -> None:
    models, x = (LinearGaussian(), LinearGaussian()), frames()
    models[1].encoder.data.fill_(torch.nan)
    found = [refine(model, x, start="prior").mean for model in models]
    assert torch.equal(*found)


def test_the_amortization_gap_is_the_divergence_from_the_true_posterior() -> None:
    model, x = LinearGaussian(), frames()
    gap = amortization_gap(model, x, steps=150, samples=1000)
    true = model.posterior_from(model.true_params(x))
    expected = kl_divergence(model.posterior_from(model.posterior_params(x)), true)
    assert float(expected.detach().min()) > 0.3
    torch.testing.assert_close(gap, expected, rtol=0.05, atol=0.05)
    # What 20 steps close is part of it, and most of it.
    some = amortization_gap(model, x, samples=1000)
    assert (some < gap + 0.01).all()
    assert float(some.sum()) > 0.5 * float(gap.sum())
    # It is that of the encoder's posterior, wherever the steps begin.
    from_prior = amortization_gap(model, x, start="prior", steps=150, samples=1000)
    torch.testing.assert_close(from_prior, gap, rtol=0.05, atol=0.05)
    unmoved = amortization_gap(model, x, start="prior", steps=0, samples=1000)
    assert float(unmoved.mean()) < 0, "the prior is no better than the encoder's posterior"


def test_an_exact_encoder_has_no_gap() -> None:
    model, x = LinearGaussian(), frames()
    exact: Any = model
    exact.posterior_params = model.true_params
    assert float(amortization_gap(model, x).abs().max()) < 0.01


def squares(n: int, seed: int = 0) -> Tensor:
    """Return dark frames with a bright square at a random position."""
    position = torch.randint(8, (n, 2), generator=torch.Generator().manual_seed(seed))
    x = torch.full((n, 1, 10, 10), 60, dtype=torch.uint8)
    for frame, (row, column) in zip(x, position.tolist(), strict=True):
        frame[0, row : row + 3, column : column + 3] = 220
    return x


@pytest.mark.parametrize("posterior", ["gaussian", "planar", "iaf"])
def test_a_vae_is_refined_with_any_posterior(posterior: PosteriorName) -> None:
    torch.manual_seed(0)
    model = VAEConfig(size=2, posterior=posterior, likelihood="gaussian").build((1, 10, 10))
    x = model.prepare(squares(3))
    model.initialize_from(x)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    assert isinstance(refinable(model), GaussianVAE)
    gap = amortization_gap(model, x, samples=128)
    assert (gap > -0.05).all()
    assert float(gap.mean()) > 0.1


@pytest.mark.parametrize(
    ("inference", "posterior"), [("memoryless", "gaussian"), ("semi", "gaussian"), ("semi", "iaf")]
)
def test_a_decoder_learns_from_refined_codes(
    inference: Inference, posterior: PosteriorName
) -> None:
    latent = VAEConfig(size=2, inference=inference, posterior=posterior, refine_steps=3)
    representation = VariationalConfig(latent).build(obs_shape=(1, 10, 10), seed=0)
    model = representation.model
    assert isinstance(model, GaussianVAE)
    encoder = [parameter.clone() for parameter in model.encoder.parameters()]
    held_out = model.prepare(squares(16, seed=99))

    def bound_of(params: Tensor) -> float:
        return float(elbo(model, held_out, params, samples=32, seed=0).mean().detach())

    representation.update(Segment.of_observations(squares(8)))
    before = bound_of(model.posterior_params(held_out))
    for seed in range(12):
        representation.update(Segment.of_observations(squares(8, seed=seed)))
    with torch.no_grad():
        posterior_codes = model.posterior(held_out).sample()
        assert posterior_codes.shape == (16, 2)
    assert bound_of(model._infer(held_out)) > before + 10
    changed = any(
        not torch.equal(a, b) for a, b in zip(encoder, model.encoder.parameters(), strict=True)
    )
    assert changed == (inference == "semi")
    key = representation.encode(squares(4, seed=99))
    torch.testing.assert_close(representation.encode(squares(4, seed=99)[1:3]), key[1:3])
    # Keys are of the refined posterior: those of memoryless inference do not read the encoder.
    model.encoder.outputs.bias.data += 1
    moved = representation.encode(squares(4, seed=99))
    assert torch.equal(moved, key) == (inference == "memoryless")


def test_a_model_without_parameters_of_a_frame_is_refused() -> None:
    model = BinaryVAEConfig(size=3).build((4, 4), 2)
    x = model.prepare(torch.zeros(1, 4, 4, dtype=torch.uint8))
    for function in (refine, amortization_gap):
        with pytest.raises(UsageError, match=r"of BinaryVAE cannot be refined.*such as vae"):
            function(model, x)
