"""DRAW: its recurrence by hand, what windows touch, and what glimpses are for."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.envs.prng import seeded
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.inference.bounds import analytic_elbo
from reverie.world_models.latents.composition import Composer
from reverie.world_models.latents.draw import DRAW, DRAWConfig
from reverie.world_models.latents.glimpses import Windowed
from reverie.world_models.representation.variational import VariationalConfig

SMALL = DRAWConfig(glimpses=3, hidden=12, size=2, read=3, write=3, likelihood="categorical")
VOLUME = replace(SMALL, depth=2)


def build(config: DRAWConfig, *shape: int, noise: float = 0.3) -> DRAW:
    """Return a model with random weights."""
    with seeded(0):
        model = config.build(shape, 4)
        for parameter in model.parameters():
            parameter.data += noise * torch.randn_like(parameter)
    return model


def frames(n: int, *shape: int) -> Tensor:
    return torch.randint(4, (n, *shape), generator=torch.Generator().manual_seed(1))


def two_sprites(n: int, seed: int, size: int = 8) -> Tensor:
    """Return frames with two squares at places of their own."""
    place = torch.randint(size - 1, (n, 2, 2), generator=torch.Generator().manual_seed(seed))
    x = torch.zeros(n, 1, size, size, dtype=torch.uint8)
    for frame, corners in zip(x, place.tolist(), strict=True):
        for i, j in corners:
            frame[0, i : i + 2, j : j + 2] = 1
    return x


def narrow(model: DRAW, *, place: tuple[float, ...] = ()) -> Windowed:
    """Make windows select single positions, one apart, at any place given the decoder's output."""
    access = model.access
    assert isinstance(access, Windowed)
    for windows in (access.read_windows, access.write_windows):
        bias = windows.params.bias.data
        windows.params.weight.data[2:] = 0
        bias[:] = 0
        counts, lengths = windows.counts, windows.lengths
        strides = [(n - 1) / (k - 1) for k, n in zip(counts, lengths, strict=True)]
        bias[2], bias[3] = -torch.tensor(strides[-1]).log(), -8
        if len(bias) == 8:
            windows.params.weight.data[5] = 0
            bias[6], bias[7] = -torch.tensor(strides[0]).log(), -8
            bias[5] = place[0]
    return access


def test_one_glimpse_without_attention_is_a_variational_autoencoder() -> None:
    """The LSTMs of a single glimpse are feed-forward layers."""
    model = build(replace(SMALL, glimpses=1, attention=False), 4, 5)
    x = frames(6, 4, 5)
    model.initialize_from(x)

    def layer(cell: torch.nn.LSTMCell, inputs: Tensor) -> Tensor:
        i, _, g, o = (linear(inputs, cell.weight_ih) + cell.bias_ih + cell.bias_hh).chunk(4, -1)
        return o.sigmoid() * (i.sigmoid() * g.tanh()).tanh()

    pixels, background = x.float() / 3, model.pixels.initial(x)
    centered = (pixels - pixels.mean(0)) / model.std
    error = (pixels - model.pixels.image(background)) / model.std
    inputs = torch.cat([centered.flatten(1), error.flatten(1), torch.zeros(6, 12)], 1)
    hidden = layer(model.encoder, inputs)
    mean, log_std = model.posterior_params(hidden).chunk(2, 1)
    log_std = 8 * (log_std / 8).tanh() - 1
    weights = model.weigh(x, 7)
    layers: Any = model.access
    logits = layers.pixels(layer(model.decoder, weights.codes)).view(7, 6, 4, 4, 5) + background
    log_likelihood = logits.log_softmax(2).gather(2, x.expand(7, 1, 6, 4, 5).movedim(1, 2))
    kl = (mean.square() + (2 * log_std).exp() - 1) / 2 - log_std
    assert weights.divergence is not None
    torch.testing.assert_close(weights.divergence, kl.expand(7, 6, 2))
    elbo = log_likelihood.sum((2, 3, 4)).mean(0) - kl.sum(1)
    found = analytic_elbo(weights.log_likelihood, weights.divergence)
    torch.testing.assert_close(found, elbo, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("config", [SMALL, VOLUME, replace(SMALL, attention=False)])
@torch.no_grad()
def test_one_pass_agrees_with_posterior_and_decoder(config: DRAWConfig) -> None:
    model = build(config, 4, 6, 5)
    x = frames(3, 4, 6, 5)
    with seeded(2):
        weights = model.weigh(x, 5)
    with seeded(2):
        assert torch.equal(model.posterior(x).sample(torch.Size([5])), weights.codes)
    log_posterior = model.posterior(x).log_prob(weights.codes)
    torch.testing.assert_close(weights.log_posterior, log_posterior)
    log_likelihood = model.likelihood(weights.codes).log_prob(x)
    torch.testing.assert_close(weights.log_likelihood, log_likelihood)


def test_codes_depend_on_earlier_codes() -> None:
    model, x = build(SMALL, 6, 5), frames(1, 6, 5)
    weights = model.weigh(x, 50)
    assert weights.divergence is not None
    assert weights.divergence[:, 0, :2].std(0).max() < 1e-5
    assert weights.divergence[:, 0, 2:].std(0).min() > 1e-3


def test_the_bound_rises_with_glimpses() -> None:
    """Two sprites need two places: one glimpse writes one patch."""
    bounds = []
    for glimpses in (1, 4):
        latent = DRAWConfig(glimpses=glimpses, hidden=32, size=4, read=4, write=2)
        latent = replace(latent, likelihood="bernoulli")
        model = VariationalConfig(latent, learning_rate=5e-3).build(obs_shape=(1, 8, 8), seed=0)
        for step in range(160):
            model.update(Segment.of_observations(two_sprites(32, step)))
        log_weights = model.weigh(two_sprites(200, -1), 8).log_weights()
        bounds.append(float(log_weights.mean()))
    assert bounds[1] > bounds[0] + 0.5


@torch.no_grad()
def test_a_narrow_window_writes_inside_its_box() -> None:
    model, x = build(SMALL, 12, 10), frames(20, 12, 10)
    narrow(model)
    composition = model.compose(x)
    assert isinstance(model, Composer)
    assert composition.boxes is not None
    background = model.pixels.image(model._begin(20)[0])
    before = torch.cat([background[None], composition.images[:-1]])
    changed = (composition.images - before).abs() > 1e-6
    top, left, bottom, right = composition.boxes.unbind(2)
    row, column = torch.arange(12) + 0.5, torch.arange(10) + 0.5
    in_rows = (row > top[..., None]) & (row < bottom[..., None])
    in_columns = (column > left[..., None]) & (column < right[..., None])
    inside = in_rows[..., :, None] & in_columns[..., None, :]
    assert changed.flatten(2).any(2).all()
    assert not (changed & ~inside).any()
    assert inside.flatten(2).sum(2).max() <= 16
    assert torch.equal(composition.images[-1], model.image(model.key(x)))
    assert composition.presence.shape == (3, 20)
    assert composition.presence.eq(1).all()


def test_without_attention_there_are_no_boxes() -> None:
    assert build(replace(SMALL, attention=False), 6, 5).compose(frames(2, 6, 5)).boxes is None


def test_a_window_along_time_touches_its_frames_alone() -> None:
    model, hidden = build(VOLUME, 6, 5, 4), torch.randn(2, 12)
    place = torch.tensor(1.5 * 2 / 5 - 1).atanh()  # between frames 1 and 2 of 6
    access = narrow(model, place=(float(place),))
    written = access.write(hidden)[0]
    assert written.shape == (2, 4, 6, 5, 4)
    touched = written.abs().amax((0, 1, 3, 4)) > 1e-6
    assert touched.tolist() == [False, True, True, False, False, False]
    images = torch.randn(2, 2, 6, 5, 4, requires_grad=True)
    access.read(images, hidden).square().sum().backward()
    assert images.grad is not None
    read = images.grad.abs().amax((0, 1, 3, 4)) > 1e-6
    assert torch.equal(read, touched)


@pytest.mark.parametrize("config", [SMALL, VOLUME, replace(SMALL, attention=False)])
@pytest.mark.parametrize("noise", [0.3, 10.0])
def test_gradients_are_finite(config: DRAWConfig, noise: float) -> None:
    model = build(config, 5, 6, 4, noise=noise)
    weights = model.weigh(frames(3, 5, 6, 4), 2, pathwise=True)
    assert weights.divergence is not None
    analytic_elbo(weights.log_likelihood, weights.divergence).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or noise > 1, name  # saturated units may have none


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"glimpses": 0}, "latent.glimpses is 0"),
        ({"hidden": 0}, "latent.hidden is 0"),
        ({"depth": -1}, "latent.depth is -1"),
        ({"depth": 2, "attention": False}, "latent.depth is 2; it must be 0 without attention"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DRAWConfig(**wrong)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (SMALL, (2, 9), "latent.read is 3; it must be 2 or less for frames of 2 x 9"),
        (replace(SMALL, read=1), (9, 2), "latent.write is 3; it must be 2 or less"),
        (VOLUME, (6, 6), "depth is 2; it must be 0 for a stack of 1"),
        (VOLUME, (3, 6, 6), "depth is 2; it must be 0 for a stack of 3: it needs 4 frames"),
        (replace(SMALL, depth=6), (5, 6, 6), "it must be 0 for a stack of 5: it needs 6 frames"),
    ],
)
def test_frames_smaller_than_a_glimpse_are_refused(
    config: DRAWConfig, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        config.build(shape, 4)
    if len(shape) == 2:
        with pytest.raises(UsageError, match=message):
            BoundConfig(latent=config).build(shape=shape, levels=4)
    else:
        replace(config, read=1, write=1, depth=0).build(shape, 4)
