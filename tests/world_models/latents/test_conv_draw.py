"""Convolutional DRAW compared with its equations."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.functional import conv2d

from reverie.world_models.latents.composition import Composer
from reverie.world_models.latents.conv_draw import ConvDRAW, ConvDRAWConfig
from reverie.world_models.latents.grid_networks import ConvLSTM

from sample_models import random_frames

SMALL = ConvDRAWConfig(steps=3, size=2, maps=4, stride=2, likelihood="categorical")


def build(config: ConvDRAWConfig = SMALL, shape: tuple[int, ...] = (5, 6)) -> ConvDRAW:
    torch.manual_seed(0)
    model = config.build(shape, 3)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def log_prob(q: Normal, code: Tensor) -> Tensor:
    found: Tensor = Independent(q, 3).log_prob(code)
    return found


def prepared(model: ConvDRAW, n: int = 4) -> Tensor:
    return model.prepare(random_frames(n, model.pixels.shape, 3))  # type: ignore[arg-type]


def test_an_lstm_of_convolutions_is_an_lstm_at_each_place_of_a_grid() -> None:
    torch.manual_seed(0)
    cell, grid = nn.LSTMCell(3, 4), ConvLSTM(3, 4)
    nn.init.zeros_(grid.gates.weight)
    weight = torch.cat([cell.weight_ih, cell.weight_hh], 1)
    i, f, content, o = torch.cat([weight, (cell.bias_ih + cell.bias_hh)[:, None]], 1).chunk(4)
    ordered = torch.cat([i, f, o, content])
    grid.gates.weight.data[:, :, 1, 1] = ordered[:, :-1]
    assert grid.gates.bias is not None
    grid.gates.bias.data = ordered[:, -1]
    x, state = torch.randn(2, 3, 5, 6), (torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6))
    found = grid((x,), *state)
    flat = [v.movedim(1, -1).flatten(0, 2) for v in (x, *state)]
    expected = cell(flat[0], (flat[1], flat[2]))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.movedim(1, -1).flatten(0, 2), b)


@torch.no_grad()
def test_one_step_with_a_standard_prior_is_a_vae() -> None:
    model = build(replace(SMALL, steps=1))
    model.to_prior.start_at_standard()
    x = prepared(model)
    weights = model.weigh(x, 2)
    zero = torch.zeros(4, 4, 3, 3)
    inputs = (x[:, None] / 2 - model.mean) / model.scale
    start, first = (v.expand(4, -1, -1, -1) for v in model.start)
    hidden, _ = model.encoder((first, start), zero, zero, model.read(inputs))
    head = model.to_posterior
    mean, log_std = conv2d(hidden, head.weight, head.bias).chunk(2, 1)
    log_std = 8 * (log_std / 8).tanh()
    kl = 0.5 * (mean**2 + (2 * log_std).exp() - 1) - log_std
    torch.testing.assert_close(weights.divergence, kl.flatten(1).expand(2, -1, -1))
    codes = weights.codes.view(2, 4, 2, 3, 3)
    posterior, standard = Normal(mean, log_std.exp()), Normal(zero[:, :2], zero[:, :2] + 1)
    torch.testing.assert_close(weights.log_posterior, log_prob(posterior, codes))
    torch.testing.assert_close(weights.log_prior, log_prob(standard, codes))
    for s in range(2):
        code = weights.codes[s].view(4, 2, 3, 3)
        drawn, _ = model.decoder((code, first), start, zero)
        logits = (model.write(first + drawn) + model.bias).log_softmax(1)
        log_likelihood = logits.gather(1, x[:, None]).sum((1, 2, 3))
        torch.testing.assert_close(weights.log_likelihood[s], log_likelihood)


@torch.no_grad()
def test_a_standard_prior_of_codes_is_the_learned_prior_of_latents() -> None:
    """With z = mean + std u, log p(z) - log q(z) is log p(u) - log q(u)."""
    model = build()
    x = prepared(model)
    path = [*model.follow(x, 1, lambda _, q: q.rsample())]
    ratio = torch.zeros(4)
    before = [model._first(4), *(step.state for step in path)]
    for step, drawing in zip(path, before, strict=False):
        q, code = step.posterior, step.code
        prior = model.to_prior(drawing.hidden)
        z = prior.mean + prior.stddev * code
        posterior = Normal(prior.mean + prior.stddev * q.mean, prior.stddev * q.stddev)
        ratio += log_prob(prior, z) - log_prob(posterior, z)
    codes = torch.stack([step.code for step in path], 1).flatten(1)
    log_posterior = model.posterior(x).log_prob(codes[None])[0]
    torch.testing.assert_close(model.prior().log_prob(codes) - log_posterior, ratio)


@torch.no_grad()
def test_the_divergence_of_each_step_is_a_mean_of_samples() -> None:
    model, n = build(), 4000
    weights = model.weigh(prepared(model, 2), n)
    assert weights.divergence is not None
    codes = weights.codes.view(n, 2, 3, -1)
    path = model.follow(prepared(model, 2), n, lambda t, _: codes[:, :, t].reshape(-1, 2, 3, 3))
    standard = Normal(torch.zeros(2, 3, 3), torch.ones(2, 3, 3))
    each = [log_prob(x.posterior, x.code) - log_prob(standard, x.code) for x in path]
    ratio = torch.stack(each).view(3, n, 2)
    kl = weights.divergence.view(n, 2, 3, -1).sum(3).movedim(2, 0)
    difference = ratio - kl
    error = difference.std(1) / n**0.5
    assert (difference.mean(1).abs() < 4.5 * error).all()
    assert float(error.max()) < 0.1


@torch.no_grad()
def test_the_posterior_scores_the_codes_that_were_weighed() -> None:
    model = build()
    x = prepared(model)
    torch.manual_seed(1)
    weights = model.weigh(x, 3)
    posterior = model.posterior(x)
    torch.testing.assert_close(posterior.log_prob(weights.codes), weights.log_posterior)
    torch.testing.assert_close(model.likelihood(weights.codes).log_prob(x), weights.log_likelihood)
    torch.manual_seed(1)
    torch.testing.assert_close(posterior.sample(torch.Size([3])), weights.codes)
    assert posterior.sample().shape == (4, model.size)


@torch.no_grad()
def test_a_composition_ends_in_the_most_probable_reconstruction() -> None:
    model = build()
    x = prepared(model)
    assert isinstance(model, Composer)
    composition = model.compose(x)
    assert composition.images.shape == (3, 4, 5, 6)
    assert composition.boxes is None
    assert torch.equal(composition.presence, torch.ones(3, 4))
    torch.testing.assert_close(composition.images[-1], model.image(model.key(x)))
    differences = (composition.images[1:] - composition.images[:-1]).abs().amax((1, 2, 3))
    assert (differences > 1e-4).all(), "every step draws"


@torch.no_grad()
def test_the_key_follows_the_means_of_earlier_steps() -> None:
    model = build()
    x = prepared(model)
    key = model.key(x).view(4, *model.code_shape)
    for t in range(3):
        torch.testing.assert_close(model.next_posterior(x, key[:, :t]).mean, key[:, t])


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (10, 7), (42, 42), (2, 9, 13)])
def test_frames_of_any_size_have_a_grid(shape: tuple[int, ...], stride: int) -> None:
    model = ConvDRAWConfig(steps=2, maps=4, stride=stride).build(shape)  # type: ignore[arg-type]
    rows, columns = (-(-side // stride) for side in shape[-2:])
    assert model.code_shape == (2, 2, rows, columns)
    x = model.prepare(torch.zeros(3, *shape, dtype=torch.uint8))
    assert model.weigh(x, 2).codes.shape == (2, 3, 4 * rows * columns)
    assert model.sample(2).shape == (2, *shape)
