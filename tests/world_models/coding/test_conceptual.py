"""Conceptual compression: real bytes of the first steps, which decode to what was encoded."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from reverie.envs.errors import UsageError
from reverie.world_models.coding.conceptual import (
    Planes,
    decode_latents,
    encode_latents,
    quantize,
    reconstruct,
)
from reverie.world_models.latents import LATENTS
from reverie.world_models.latents.conv_draw import ConvDRAW, ConvDRAWConfig
from reverie.world_models.latents.stepwise import StepwiseModel
from reverie.world_models.latents.vae import VAEConfig

from sample_models import random_frames

SHAPE, LEVELS, STEPS = (9, 10), 4, 3


def build(seed: int = 0) -> ConvDRAW:
    """Return a model with an informative posterior."""
    torch.manual_seed(seed)
    model = ConvDRAWConfig(steps=STEPS, size=2, maps=4, stride=2).build(SHAPE, LEVELS)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    nn.init.normal_(model.to_posterior.weight, std=1.5)
    nn.init.constant_(model.to_posterior.bias[2:], -2.5)
    return model


MODEL = build()
FRAMES = random_frames(12, SHAPE, LEVELS)


@pytest.mark.parametrize("steps", range(STEPS + 1))
@pytest.mark.parametrize("settings", [{}, {"bits": 0}, {"bits": 7, "beta": 0.1}, {"beta": 5.0}])
def test_frames_come_back_as_the_encoder_predicted(steps: int, settings: dict[str, Any]) -> None:
    message = encode_latents(MODEL, FRAMES, steps, **settings)
    planes, _ = quantize(MODEL, FRAMES, steps, **settings)
    images = decode_latents(MODEL, message)
    assert torch.equal(images, reconstruct(MODEL, planes, settings.get("bits", 2)))
    assert images.shape == FRAMES.shape
    assert ((images >= 0) & (images <= 1)).all()
    assert message[:2] == bytes([steps, settings.get("bits", 2)])
    if steps:
        assert planes.any()


@pytest.mark.parametrize("name", LATENTS)
def test_every_model_with_steps_codes_all_of_them(name: str) -> None:
    torch.manual_seed(0)
    model = LATENTS[name]().example().build(SHAPE, LEVELS)
    if isinstance(model, StepwiseModel):
        for steps in range(model.code_shape[0] + 1):
            message = encode_latents(model, FRAMES, steps, bits=4)
            planes, _ = quantize(model, FRAMES, steps, bits=4)
            assert torch.equal(decode_latents(model, message), reconstruct(model, planes, 4))


@torch.no_grad()
def test_what_is_decoded_is_the_mean_frame_of_the_rounded_latents() -> None:
    planes, _ = quantize(MODEL, FRAMES, 2, bits=3)
    code = torch.zeros(len(FRAMES), *MODEL.code_shape)
    code[:, :2] = torch.from_numpy(planes).movedim(0, 1).view(12, 2, *MODEL.code_shape[1:]) / 8
    torch.testing.assert_close(reconstruct(MODEL, planes, 3), MODEL.image(code.flatten(1)))


def nats_of(planes: Planes, bits: int) -> float:
    """The information of places under the discretized prior, computed one by one."""
    width = 0.5**bits

    def mass(n: int) -> float:
        low, high = ((n + side) * width / math.sqrt(2) for side in (-0.5, 0.5))
        return (math.erf(high) - math.erf(low)) / 2

    total = 0.0
    for k, plane in enumerate(planes):
        seen = dict[tuple[bool, bool, bool], list[int]]()
        for (n, i, j), place in np.ndenumerate(plane):
            left, above = j > 0 and plane[n, i, j - 1] != 0, i > 0 and plane[n, i - 1, j] != 0
            below = k > 0 and planes[k - 1][n, i, j] != 0
            # One place of two is the same context, whichever it is.
            both, either = bool(left and above), bool(left or above)
            zeros = seen.setdefault((both, either, bool(below)), [0, 0])
            p = (zeros[0] + mass(0)) / (zeros[1] + 1)
            total -= math.log(p if place == 0 else (1 - p) * mass(int(place)) / (1 - mass(0)))
            zeros[0] += int(place == 0)
            zeros[1] += 1
    return total


@pytest.mark.parametrize("bits", [0, 2, 3])
def test_a_message_is_hardly_longer_than_the_nats_of_its_latents(bits: int) -> None:
    for steps in range(STEPS + 1):
        planes, _ = quantize(MODEL, FRAMES, steps, bits=bits, beta=0.5)
        information = nats_of(planes, bits) / math.log(2)
        size = 8 * len(encode_latents(MODEL, FRAMES, steps, bits=bits, beta=0.5))
        assert information <= size <= 1.01 * information + 64
    assert information > 1000


def test_more_steps_cost_more_bytes_and_begin_with_the_same_latents() -> None:
    for beta in (1.0, 1e6):
        sizes = [len(encode_latents(MODEL, FRAMES, k, beta=beta)) for k in range(STEPS + 1)]
        assert sizes == sorted(sizes)
    fewer, more = (quantize(MODEL, FRAMES, k)[0] for k in (1, STEPS))
    assert np.array_equal(more[: len(fewer)], fewer)


def places(beta: float) -> NDArray[np.int64]:
    return quantize(MODEL, FRAMES, 1, bits=3, beta=beta)[0].astype(np.int64)


@torch.no_grad()
def test_a_latent_goes_to_the_nearest_place_if_bits_are_free() -> None:
    none = torch.zeros(len(FRAMES), 0, *MODEL.code_shape[1:])
    mean = MODEL.next_posterior(MODEL.prepare(FRAMES), none).mean.movedim(1, 0).numpy() * 8
    nearest = np.clip(np.trunc(mean + np.copysign(0.5, mean)), -127, 127)
    assert np.array_equal(places(1e-6), nearest)
    assert (abs(places(1.0)) <= abs(nearest)).all()
    assert not places(1e9).any()


def test_latents_that_the_posterior_leaves_at_the_prior_cost_nothing() -> None:
    model = build()
    model.start_at_prior()
    frames = FRAMES.repeat(20, 1, 1)
    count = len(frames) * model.size
    assert 8 * len(encode_latents(model, frames, STEPS)) < 0.02 * count
    assert not quantize(model, frames, STEPS)[0].any()


def test_a_damaged_or_foreign_message_is_refused() -> None:
    message = encode_latents(MODEL, FRAMES[:3], 1)
    decode_latents(MODEL, message)
    wrong = [message[:k] for k in range(len(message))]
    wrong += [message[:k] + bytes([message[k] ^ 1 << k % 8]) + message[k + 1 :]
              for k in range(len(message))]  # fmt: skip
    wrong += [message + b"\0" * 4, b"\xff" * 40]
    for each in wrong:
        with pytest.raises(UsageError, match="does not decode"):
            decode_latents(MODEL, each)
    with pytest.raises(UsageError, match="does not decode"):
        decode_latents(build(seed=1), message)
    other = ConvDRAWConfig(steps=1, size=1, maps=4, stride=8).build(SHAPE, LEVELS)
    with pytest.raises(UsageError, match="does not decode"):
        decode_latents(other, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 4}, r"steps is 4; it must be in 0\.\.3"),
        ({"steps": -1}, "steps is -1"),
        ({"bits": 8}, r"bits is 8; it must be in 0\.\.7"),
        ({"beta": 0.0}, "beta is 0.0; it must be above 0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"frames": FRAMES[:0]}, r"shape \(0, 9, 10\); this model codes 1 to"),
        ({"frames": random_frames(2, (9, 9))}, r"shape \(2, 9, 9\); .* of \(9, 10\)"),
        ({"frames": random_frames(9, SHAPE, 9)}, "symbols 0 to 3"),
        ({"model": VAEConfig().build(SHAPE, LEVELS)}, "GaussianVAE does not compose frames"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"model": MODEL, "frames": FRAMES, "steps": 1} | settings
    with pytest.raises(UsageError, match=message):
        encode_latents(**arguments)
