"""Laws of bits-back coding, for every latent-variable model: it codes, or is refused by name."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from reverie.envs.errors import NumericalError, UsageError
from reverie.world_models.coding import bits_back
from reverie.world_models.coding.prequential import NotReproduced
from reverie.world_models.density.bound import BoundConfig, BoundDensity
from reverie.world_models.inference.bounds import ELBO
from reverie.world_models.latents import LATENTS
from reverie.world_models.latents.interface import LatentModel
from reverie.world_models.latents.vae import GaussianVAE, VAEConfig
from reverie.world_models.likelihoods import LikelihoodName

from sample_models import random_frames

SHAPE = (4, 5)


def build(
    name: str, likelihood: LikelihoodName = "categorical", shape: tuple[int, ...] = SHAPE
) -> LatentModel:
    """An untrained model whose posterior depends on the frame."""
    torch.manual_seed(0)
    levels = 2 if likelihood == "bernoulli" else 3
    return replace(LATENTS[name]().example(), likelihood=likelihood).build(shape, levels)


def codes(name: str) -> bool:
    """Whether a model can code; otherwise the refusal must name it, and what is allowed."""
    model, data = build(name), bits_back.encode(build("vae"), random_frames(3, SHAPE)).data
    posterior = model.posterior(model.prepare(random_frames(1, SHAPE)))
    if isinstance(getattr(posterior, "base_dist", None), Normal):
        return True
    refused = f"{type(model).__name__} cannot code .* must be Gaussian and independent"
    with pytest.raises(UsageError, match=refused):
        bits_back.encode(model, random_frames(1, SHAPE))
    with pytest.raises(UsageError, match=refused):
        bits_back.decode(model, data)
    return False


@pytest.mark.parametrize("name", LATENTS)
def test_frames_come_back_bit_for_bit_or_the_model_is_refused(name: str) -> None:
    if not codes(name):
        return
    model, frames = build(name), random_frames(13, SHAPE)
    for some, size in ((frames, 1), (frames, 5), (frames[:0], 1)):
        message = bits_back.encode(model, some, batch_size=size)
        assert torch.equal(bits_back.decode(model, message.data, batch_size=size), some)
        assert message.initial_bits <= 8 * len(message.data)


def test_gaussian_codes_are_coded_and_others_are_not() -> None:
    assert {name: codes(name) for name in ("vae", "binary-vae")} == {
        "vae": True,
        "binary-vae": False,
    }


@pytest.mark.parametrize("likelihood", ["logistic", "bernoulli"])
@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5)])
def test_every_likelihood_of_symbols_and_every_shape_is_coded(
    likelihood: LikelihoodName, shape: tuple[int, ...]
) -> None:
    model = build("vae", likelihood, shape)
    frames = torch.randint(model.pixels.levels, (6, *shape)).byte()
    data = bits_back.encode(model, frames).data
    assert torch.equal(bits_back.decode(model, data), frames)


def test_pixels_that_are_no_symbols_are_refused() -> None:
    with pytest.raises(UsageError, match="GaussianPixels, which are not of the frames' symbols"):
        bits_back.encode(build("vae", "gaussian"), random_frames(1, SHAPE))


@pytest.fixture(scope="module")
def trained() -> tuple[LatentModel, Tensor, float]:
    """A model, frames from those that it was trained on, and the mean of their ELBO in bits."""
    config = BoundConfig(latent=VAEConfig(size=2), alpha=ELBO, samples=8, learning_rate=1e-3)
    density = config.build(shape=SHAPE, levels=3)
    assert isinstance(density, BoundDensity)
    assert isinstance(density.net, GaussianVAE)
    frames = random_frames(2000, SHAPE)
    for k in range(0, len(frames), 20):
        density.update(frames[k : k + 20])
    with torch.no_grad():
        elbo = density.net.weigh(density.net.prepare(frames), 16).log_weights().mean()
    return density.net, frames, float(elbo) / math.log(2)


def test_the_net_length_of_a_trained_model_is_minus_its_elbo(
    trained: tuple[LatentModel, Tensor, float],
) -> None:
    model, frames, elbo = trained
    message = bits_back.encode(model, frames, batch_size=100)
    net = 8 * len(message.data) - message.initial_bits
    assert net == pytest.approx(-elbo * len(frames), rel=5e-3)
    posterior = model.posterior(model.prepare(frames))
    assert posterior.mean.std(0).max() > 0.3, "the code tells frames apart"


def test_initial_bits_are_those_of_the_first_codes(
    trained: tuple[LatentModel, Tensor, float],
) -> None:
    model, frames, _ = trained
    few, many = (bits_back.encode(model, frames[:60], batch_size=n) for n in (1, 60))
    assert few.initial_bits < many.initial_bits
    assert 8 * 60 < many.initial_bits <= 24 * 2 * 60 + 32  # of 2 latents of at most 24 bits
    nets = [8 * len(x.data) - x.initial_bits for x in (few, many)]
    assert nets[0] == pytest.approx(nets[1], rel=0.1)


def test_no_changed_or_cut_message_and_no_other_model_is_decoded(
    trained: tuple[LatentModel, Tensor, float],
) -> None:
    model, frames, _ = trained
    data = bits_back.encode(model, frames[:20]).data
    prng = np.random.default_rng(0)
    changed = [data[:k] for k in (0, 1, 4, len(data) // 2, len(data) - 1)] + [data + b"\0\0\0\0"]
    for position in prng.integers(len(data), size=12):
        flipped = bytearray(data)
        flipped[position] ^= 1 << prng.integers(8)
        changed.append(bytes(flipped))
    for each in changed:
        with pytest.raises(NotReproduced, match="GaussianVAE does not decode"):
            bits_back.decode(model, each)
    other = VAEConfig(size=2, likelihood="categorical").build(SHAPE, 3)
    with pytest.raises(NotReproduced):
        bits_back.decode(other, data)


def test_frames_of_another_shape_and_a_diverged_model_are_refused() -> None:
    model = build("vae")
    with pytest.raises(UsageError, match="shape"):
        bits_back.encode(model, random_frames(2, (3, 3)))
    with pytest.raises(UsageError, match="batch_size is 0"):
        bits_back.encode(model, random_frames(2, SHAPE), batch_size=0)
    next(model.parameters()).data.fill_(math.nan)
    with pytest.raises(NumericalError, match="not finite"):
        bits_back.encode(model, random_frames(2, SHAPE))
