"""The semi-supervised VAE: its bounds against enumeration, its labels, and its classifier."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.envs.prng import seeded
from reverie.world_models.inference.bounds import Weights, bound
from reverie.world_models.latents.interface import LabeledModel
from reverie.world_models.latents.semi_vae import ClassAndCode, SemiVAE, SemiVAEConfig
from reverie.world_models.representation.variational import VariationalConfig

from sample_models import random_frames, still_segment

GIVEN = SemiVAEConfig(size=2, labels="given", classes=3, label_weight=0.1, likelihood="categorical")


def tiny() -> tuple[SemiVAE, Tensor]:
    """Return a model of 2 x 2 symbols with a posterior unlike its prior, and six frames."""
    torch.manual_seed(0)
    model = GIVEN.build((2, 2), 3)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter) / max(parameter[0].numel(), 1) ** 0.5
    return model, model.prepare(random_frames(6))


def elbo(model: SemiVAE, x: Tensor, labels: Tensor | None = None, samples: int = 3) -> Tensor:
    """Return the pathwise bound of each frame, with the same noise in every call."""
    with torch.no_grad(), seeded(1):
        if labels is None:
            weights = model.weigh(x, samples, pathwise=True)
        else:
            weights = model.weigh_labeled(x, labels, samples, pathwise=True)
    return bound(weights.log_weights())


def of_class(model: SemiVAE, x: Tensor, y: int) -> Tensor:
    """Return L(x, y), computed from its definition with the noise of ``elbo``."""
    with torch.no_grad(), seeded(1):
        posterior = model.posterior(x)
        codes = posterior.rsample_of_each_class(3)[:, :, y]
        log_q = posterior.log_prob_of_codes(codes[:, :, None])[:, :, y]
        log_joint = model.likelihood(codes).log_prob(x) + model.prior().log_prob(codes)
    return (log_joint - log_q).mean(0)


def test_the_unlabeled_bound_is_a_sum_over_classes_and_tight_at_their_posterior(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = tiny()
    each = torch.stack([of_class(model, x, y) for y in range(3)], 1)  # [B, C]
    posterior = model.posterior(x)
    log_q = posterior.log_probs.detach()
    by_hand = (log_q.exp() * (each - log_q)).sum(1)
    torch.testing.assert_close(elbo(model, x), by_hand)
    assert (each.logsumexp(1) - by_hand > 1e-3).all(), "the classifier is not exact"
    exact = ClassAndCode(each, posterior.codes.mean, posterior.codes.stddev)
    monkeypatch.setattr(model, "posterior", lambda x: exact)
    torch.testing.assert_close(elbo(model, x), each.logsumexp(1))


def test_a_known_class_has_its_own_bound_and_trains_the_classifier() -> None:
    model, x = tiny()
    labels = torch.tensor([0, -1, 2, 1, -1, 2])
    known, log_q = labels >= 0, model.posterior(x).log_probs.detach()
    expected = elbo(model, x)
    for i in known.nonzero()[:, 0].tolist():
        y = int(labels[i])
        # Four of six frames are known, so the mean over the batch has weight 0.1 of their mean.
        expected[i] = of_class(model, x, y)[i] + 0.1 * 6 / 4 * log_q[i, y]
    torch.testing.assert_close(elbo(model, x, labels), expected)
    torch.testing.assert_close(elbo(model, x, torch.full((6,), -1)), elbo(model, x))


@torch.no_grad()
def test_sampled_classes_have_the_enumerated_bound_as_their_mean() -> None:
    model, x = tiny()
    labels = torch.tensor([0, -1, 2, 1, -1, 2])
    torch.manual_seed(2)
    weighings: list[Callable[..., Weights]] = [
        lambda pathwise: model.weigh(x, 4_000, pathwise=pathwise),
        lambda pathwise: model.weigh_labeled(x, labels, 4_000, pathwise=pathwise),
    ]
    for weigh in weighings:
        sampled, enumerated = (weigh(pathwise).log_weights() for pathwise in (False, True))
        error = ((sampled.var(0) + enumerated.var(0)) / 4_000).sqrt()
        assert ((sampled.mean(0) - enumerated.mean(0)).abs() < 4.5 * error).all()
        assert (sampled.std(0) >= enumerated.std(0) - 4.5 * error).all()


def test_the_key_is_the_mean_of_the_code() -> None:
    model, x = tiny()
    assert isinstance(model, LabeledModel)
    key = model.key(x).detach()
    torch.testing.assert_close(key[:, :3].sum(1), torch.ones(6))
    codes = model.posterior(x).sample(torch.Size([4_000]))
    assert torch.equal(codes[..., :3].sum(2), torch.ones(4_000, 6))
    assert ((codes.mean(0) - key).abs() < 4.5 * codes.std(0) / 4_000**0.5 + 1e-6).all()


def episode_end(**changes: Any) -> Segment:
    """Segments of 3 timesteps: whole, after a death at the end, and cut at the second one."""
    obs = random_frames(3, (4, 5))[:, None]
    last = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]]).bool()
    segment = replace(still_segment(obs, 3), discount=torch.ones(3, 3), last=last)
    return replace(segment, **changes)


def test_labels_are_the_rewards_and_deaths_within_the_horizon() -> None:
    reward = torch.tensor([[0.0, -3, 1], [0, 0, 5], [0, 9, 9]])
    segment = episode_end(reward=reward)
    model = replace(GIVEN, labels="reward", horizon=3).build((1, 4, 5))
    assert model.segment_length == 3
    assert model.labels(segment).tolist() == [0, 2, 1], "not what follows the episode's end"
    sooner = replace(GIVEN, labels="reward", horizon=2).build((1, 4, 5))
    assert sooner.labels(segment).tolist() == [0, 1, 1], "not what follows the horizon"
    discount = torch.tensor([[1.0, 0, 1], [1, 1, 0], [1, 0, 0]])
    model = replace(GIVEN, labels="death").build((1, 4, 5))
    assert model.labels(episode_end(discount=discount)).tolist() == [1, 1, 0]
    sooner = replace(GIVEN, labels="death", horizon=2).build((1, 4, 5))
    assert sooner.labels(episode_end(discount=discount)).tolist() == [1, 0, 0]
    assert model.labels(episode_end()).tolist() == [0, 0, 0]
    given = GIVEN.build((1, 4, 5))
    label = torch.tensor([[2, 0, 0], [-1, 0, 0], [0, 1, 1]])
    assert given.labels(episode_end(extras={"label": label})).tolist() == [2, -1, 0]


@pytest.mark.parametrize("label", [3, -2])
def test_labels_out_of_range_are_refused(label: int) -> None:
    model = GIVEN.build((1, 4, 5))
    labels = torch.tensor([[0], [label], [1]])
    message = rf"A label is {label}, and latent.classes is 3; a label must be in 0..2, or -1"
    with pytest.raises(UsageError, match=message):
        model.labels(episode_end(extras={"label": labels}))
    with pytest.raises(UsageError, match=r"latent.labels is given, but .* no extras"):
        model.labels(episode_end())


def test_segments_that_are_too_short_are_refused() -> None:
    model = VariationalConfig.of(SemiVAEConfig(horizon=4)).build(obs_shape=(1, 4, 5))
    assert model.segment_length == 4
    with pytest.raises(UsageError, match=r"have 3 timesteps, .* learns from 4"):
        model.update(episode_end())


def test_a_few_labels_name_the_classes_that_frames_without_labels_show() -> None:
    """Two patterns of random brightness, with noise; one frame of each has a label."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(2, 8, 8, generator=generator)
    y = torch.arange(600) % 2
    brightness = 60 + 100 * torch.rand(600, 1, 1, generator=generator)
    noise = 40 * torch.rand(600, 8, 8, generator=generator)
    obs = (brightness * patterns[y] + noise).to(torch.uint8)[:, None]
    latent = replace(GIVEN, classes=2, label_weight=1.0, likelihood="gaussian")
    model = VariationalConfig(latent).build(obs_shape=(1, 8, 8))
    label = torch.where(torch.arange(600) < 2, y, -1)[:, None]
    for _ in range(60):
        rows = torch.cat([torch.arange(2), torch.randint(500, (30,), generator=generator)])
        model.update(replace(still_segment(obs[rows], 1), extras={"label": label[rows]}))
    predicted = model.encode(obs[500:])[:, :2].argmax(1)
    assert float((predicted == y[500:]).float().mean()) > 0.95
