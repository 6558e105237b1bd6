"""Laws of every latent-variable model in the table, whichever role it fills."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.inference.bounds import ELBO, IWAE, bound
from reverie.world_models.inference.evidence import log_evidence
from reverie.world_models.latents import LATENTS
from reverie.world_models.latents.interface import LatentConfig, LatentModel
from reverie.world_models.latents.posteriors import FLOWS
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.likelihoods import LIKELIHOODS, LikelihoodName
from reverie.world_models.representation import REPRESENTATIONS
from reverie.world_models.representation.variational import VariationalConfig

from sample_models import random_frames, still_segment

CONFIGS: dict[str, LatentConfig] = {name: kind() for name, kind in LATENTS.items()}
CONFIGS |= {f"vae-{name}": VAEConfig(posterior=name) for name in FLOWS}
"""Every model of the table, and the VAE with every other posterior."""

pytestmark = pytest.mark.parametrize("name", CONFIGS)


def build(
    name: str, shape: tuple[int, ...], levels: int, likelihood: LikelihoodName = "categorical"
) -> LatentModel:
    """Return a model whose posterior is unlike its prior, but nowhere far narrower."""
    config = replace(CONFIGS[name].example(), likelihood=likelihood)
    torch.manual_seed(0)
    model = config.build(shape, levels)
    model.start_at_prior()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter) / max(parameter[0].numel(), 1) ** 0.5
    return model


def frames_of(model: LatentModel, n: int) -> Tensor:
    pixels = model.pixels
    generator = torch.Generator().manual_seed(1)
    shape = n, *pixels.shape
    return torch.randint(pixels.levels, shape, generator=generator, dtype=torch.uint8)


@torch.no_grad()
def test_a_bound_is_below_the_evidence_of_enumerated_frames(name: str) -> None:
    """The evidence of each of 16 frames is its share of samples from the model."""
    model, n = build(name, (2, 2), 2), 40_000
    frames = torch.cartesian_prod(*[torch.arange(2, dtype=torch.uint8)] * 4).view(-1, 2, 2)
    powers = 2 ** torch.arange(3, -1, -1)
    drawn = torch.bincount((model.sample(n).flatten(1) * powers).sum(1), minlength=16)
    share = drawn / n
    error = ((1 - share) / (n * share)).sqrt()  # of the logarithm
    weights = model.weigh(model.prepare(frames), 4000)
    log_weights = weights.log_weights()
    bounds = {alpha: bound(log_weights, alpha) for alpha in (ELBO, 0.5, IWAE)}
    noise = {ELBO: log_weights.std(0) / 4000**0.5, 0.5: error, IWAE: log_evidence(log_weights)[1]}
    for alpha, value in bounds.items():
        assert (value < share.log() + 4.5 * (error + noise[alpha])).all()
    assert (bounds[IWAE] > share.log() - 4.5 * (error + noise[IWAE])).all()
    assert float((share.log() - bounds[ELBO]).mean()) > 0.05, "the posterior is not exact"
    assert float(bounds[IWAE].exp().sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shape", [(2, 2), (10, 7), (3, 9, 10)])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_weights_have_their_shapes(
    name: str, shape: tuple[int, ...], likelihood: LikelihoodName
) -> None:
    model = build(name, shape, 4, likelihood)
    x = model.prepare(frames_of(model, 5))
    weights = model.weigh(x, 3)
    for log_prob in (weights.log_likelihood, weights.log_prior, weights.log_posterior):
        assert log_prob.shape == (3, 5)
        assert log_prob.isfinite().all()
    assert weights.codes.shape[:2] == (3, 5)
    assert (weights.divergence is not None) == CONFIGS[name].has_divergence
    if weights.divergence is not None:
        assert weights.divergence.shape[0] in (1, 3)
        assert weights.divergence.shape[1] == 5
    images = model.image(weights.codes)
    assert images.shape == (3, 5, *shape)
    if likelihood != "gaussian":  # whose mean is any number
        assert ((images >= 0) & (images <= 1)).all()
    assert model.sample(2).shape == (2, *shape)


@torch.no_grad()
def test_a_divergence_is_the_mean_of_the_log_ratio(name: str) -> None:
    model, samples = build(name, (4, 5), 3), 5000
    weights = model.weigh(model.prepare(frames_of(model, 6)), samples)
    if weights.divergence is None:
        return
    ratio = weights.log_posterior - weights.log_prior - weights.divergence.sum(2)
    error = ratio.std(0) / samples**0.5
    assert (ratio.mean(0).abs() < 4.5 * error + 1e-4).all()
    assert float(error.max()) < 0.1
    assert (weights.divergence >= -1e-6).all()


def test_codes_are_scored_where_they_have_no_pathwise_gradient(name: str) -> None:
    model = build(name, (4, 5), 3)
    assert model.score_codes == CONFIGS[name].score_codes
    x = model.prepare(frames_of(model, 6))
    weights = model.weigh(x, 3, pathwise=True)
    assert model.score_codes == bool(weights.log_score.any())
    if not model.score_codes:
        assert weights.codes.requires_grad
    scored = model.weigh(x, 3)
    assert not scored.codes.requires_grad
    assert torch.equal(scored.log_score, scored.log_posterior)


@torch.no_grad()
def test_keys_are_deterministic(name: str) -> None:
    model = build(name, (4, 5), 3)
    x, state = model.prepare(frames_of(model, 6)), torch.get_rng_state()
    keys = model.key(x)
    assert keys.shape == (6, model.dim)
    assert torch.equal(model.key(x), keys)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(model.key(x[2:4]), keys[2:4])
    assert model.features(x).shape == (6, model.num_features)
    assert model.size <= model.dim


@torch.no_grad()
def test_an_untrained_posterior_can_be_the_prior(name: str) -> None:
    model = CONFIGS[name].example().build((4, 5), 3)
    model.start_at_prior()
    weights = model.weigh(model.prepare(frames_of(model, 6)), 20)
    torch.testing.assert_close(weights.log_posterior, weights.log_prior, atol=1e-4, rtol=0)


def test_it_serves_as_a_representation_and_as_a_density(name: str) -> None:
    if name in LATENTS:
        representation = REPRESENTATIONS[name]
        assert isinstance(representation, VariationalConfig)
        assert representation.latent == CONFIGS[name]
    config = BoundConfig(latent=CONFIGS[name], samples=4)
    density = config.build(shape=(9, 8), levels=4)
    frames = random_frames(24, (9, 8), 4)
    before = density.log_prob(frames[:8]).mean()
    for batch in torch.split(frames, 8):
        density.update(batch)
    assert density.log_prob(frames[:8]).mean() > before + 1


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_is_learned_or_refused_by_name(
    name: str, likelihood: LikelihoodName
) -> None:
    latent = replace(CONFIGS[name].example(), likelihood=likelihood)
    model = VariationalConfig.of(latent).build(obs_shape=(1, 8, 8))
    obs = random_frames(8, (8, 8), 4)[:, None] * 60
    segment = still_segment(obs, model.segment_length)
    first = model.update(segment)["representation/bound"]
    for _ in range(5):
        last = model.update(segment)["representation/bound"]
    assert last > first

    def density(levels: int) -> Callable[[], object]:
        return lambda: BoundConfig(latent=latent, samples=4).build(shape=(4, 4), levels=levels)

    if LIKELIHOODS[likelihood].continuous:
        with pytest.raises(UsageError, match=f"density.latent.likelihood is {likelihood}; it must"):
            density(3)()
        return
    density(2)()
    if not LIKELIHOODS[likelihood]((4, 4), 3).of_symbols:
        with pytest.raises(UsageError, match=rf"is {likelihood}, .* the frames have 3; choose"):
            density(3)()


@pytest.mark.parametrize(
    ("wrong", "message"), [({"min_std": 0.0}, "latent.min_std is 0.0"), ({"size": 0}, "size is 0")]
)
def test_invalid_settings_are_refused(name: str, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(CONFIGS[name], **wrong)
