"""Factor analysis: the fit, its exact density, and a VAE that holds it as a special case."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from reverie.world_models.latents.vae import GaussianVAE, VAEConfig
from reverie.world_models.likelihoods import GaussianPixels
from reverie.world_models.representation.factor_analysis import FactorAnalysis


def test_factor_analysis_recovers_the_gaussian_of_the_data() -> None:
    torch.manual_seed(0)
    loading, mean = torch.randn(6, 2), torch.randn(6)
    noise = torch.tensor([0.3, 0.5, 0.4, 0.6, 0.3, 0.5])
    x = torch.randn(20_000, 2) @ loading.T + mean + torch.randn(20_000, 6) * noise
    model = FactorAnalysis(x, 2, floor=0.05, iterations=300)
    covariance = model.loading @ model.loading.T + model.noise.diag()
    truth = loading @ loading.T + noise.square().diag()
    assert float((covariance - truth).abs().max()) < 0.1
    exact = MultivariateNormal(model.mean, covariance).log_prob(x[:50])
    torch.testing.assert_close(model.log_prob(x[:50]), exact, rtol=1e-4, atol=1e-3)
    # The posterior means equal the regression of the latents on the data.
    centered = x[:50] - model.mean
    expected = torch.linalg.solve(covariance, centered.T).T @ model.loading
    torch.testing.assert_close(model.encode(x[:50]), expected, rtol=1e-3, atol=1e-3)


def test_factor_analysis_has_a_least_standard_deviation() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 1) @ torch.randn(1, 4)  # without noise
    assert float(FactorAnalysis(x, 1, floor=0.05).noise.min()) == pytest.approx(0.05**2)


def test_a_vae_holds_factor_analysis_and_its_exact_posterior_as_a_special_case() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 3) @ torch.rand(3, 36) / 3 + 0.03 * torch.randn(400, 36)
    linear = FactorAnalysis(x, 2, floor=0.04)
    # A rotation of the latents that makes the posterior diagonal; p(x) stays the same.
    _, scale, rotation = torch.linalg.svd(linear.loading / linear.noise.sqrt()[:, None])
    loading = linear.loading @ rotation.T
    variance = 1 / (1 + scale.square())
    vae = GaussianVAE(GaussianPixels((1, 6, 6), 256, min_std=0.01), VAEConfig(size=2))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        log_std = (linear.noise - 0.01**2).log() / 2
        vae.decoder.bias.copy_(torch.stack([linear.mean, log_std]).view(2, 6, 6))
        vae.decoder.loading[:, :36] = loading.T
        vae.encoder.mean.copy_(linear.mean.view(1, 6, 6))
        weight = loading / linear.noise[:, None] * variance  # of a pixel in a posterior mean
        vae.encoder.skip.weight[:2] = weight.T * math.sqrt(36)
        vae.encoder.outputs.bias[2:] = 8 * ((variance.log() / 2 + 1) / 8).atanh()
    frames = x[:5].view(5, 1, 6, 6)
    torch.testing.assert_close(vae.posterior(frames).mean, linear.encode(x[:5]) @ rotation.T)
    log_weights = vae.weigh(frames, 4).log_weights()  # each weight then equals p(x)
    expected = linear.log_prob(x[:5]).expand(4, 5)
    torch.testing.assert_close(log_weights, expected, rtol=1e-4, atol=1e-3)


def test_factor_analysis_starts_with_the_variance_of_many_frames() -> None:
    torch.manual_seed(0)
    x = torch.randn(7_500, 1) @ torch.ones(1, 4)
    model = FactorAnalysis(x, 1, floor=0.05, iterations=0)
    torch.testing.assert_close(model.loading.square(), torch.ones(4, 1), rtol=0.1, atol=0)
