"""The diffusion model against closed forms on Gaussian data, and in envs that it can learn."""

import math
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.agents.replay import Replay
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.world_models.prediction.diffusion import (
    ARCHITECTURES,
    LOG_SIGMA_MEAN,
    LOG_SIGMA_STD,
    SCALE,
    TINY_DIFFUSION,
    DiffusionConfig,
    DiffusionNetwork,
)
from reverie.world_models.prediction.edm import (
    effective_target,
    euler_sample,
    karras_sigmas,
    preconditioning,
)
from reverie.world_models.prediction.frame_predictor import FramePredictor
from reverie.world_models.prediction.unet import SelfAttention, UNet

from sample_models import coin_flips, first_context, start

SIGMAS = torch.tensor([2e-3, 0.1, 0.5, 1.0, 20.0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fast(learning_rate: float, **changes: Any) -> DiffusionConfig:
    return replace(
        TINY_DIFFUSION, horizons=(1,), learning_rates=(learning_rate,), batch_sizes=(64,),
        updates=(1,), **changes,
    )  # fmt: skip


def randomized(network: DiffusionNetwork) -> DiffusionNetwork:
    """The network with random weights where it begins with zeros."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return network


def build(
    config: DiffusionConfig, obs_shape: tuple[int, int, int] = (2, 7, 5), num_actions: int = 3
) -> tuple[FramePredictor, DiffusionNetwork]:
    model = config.build(obs_shape=obs_shape, num_actions=num_actions, seed=1)
    network = model.network
    assert isinstance(network, DiffusionNetwork)
    return model, network


@pytest.mark.parametrize("sigma_data", [0.1, 0.5])
def test_the_networks_input_and_target_have_unit_variance(sigma_data: float) -> None:
    """For frames of the assumed deviation; and no linear function of the input predicts more."""
    frames, noise = sigma_data * normal(5, 1, 300, 300), normal(5, 1, 300, 300, seed=1)
    noisy = frames + SIGMAS[:, None, None, None] * noise
    c_skip, c_out, c_in = preconditioning(SIGMAS, sigma_data)
    target = effective_target(frames, noisy, SIGMAS, sigma_data)
    ones = torch.ones(5)
    for values in (c_in * noisy, target):
        torch.testing.assert_close(values.square().mean((1, 2, 3)), ones, rtol=0.03, atol=0)
    covariance = (target * c_in * noisy).mean((1, 2, 3))
    torch.testing.assert_close(covariance, 0 * ones, rtol=0, atol=0.02)
    torch.testing.assert_close(c_skip * noisy + c_out * target, frames, rtol=0, atol=1e-4)


def test_without_noise_the_denoiser_is_the_identity() -> None:
    _, network = build(TINY_DIFFUSION)
    randomized(network)
    frames, obs, action = normal(4, 1, 7, 5), normal(4, 2, 7, 5, seed=1), torch.eye(3)[[0, 1, 2, 0]]
    for sigma, error in ((1e-4, 1e-3), (1e-2, 0.1)):
        found, output = network.denoise(frames, torch.full((4,), sigma), obs, action)
        assert float(output.detach().abs().max()) > 0.1
        assert 0 < float((found - frames).detach().abs().max()) < error


def test_the_levels_of_three_steps() -> None:
    middle = ((5 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert karras_sigmas(3) == pytest.approx([5, middle, 0.002, 0])
    assert karras_sigmas(1) == [pytest.approx(5), 0]


@pytest.mark.parametrize("std", [0.0, 0.5, 1.3])
def test_the_sampler_with_the_best_denoiser_of_a_gaussian(std: float) -> None:
    """Its Euler steps by hand, and with many of them the solution of the differential equation.

    That is a Gaussian whose mean and deviation fall short by the finite noise at the beginning.
    """
    mean, noise = 0.3, normal(2000, 1, 2, 2)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        weight = std**2 / (std**2 + sigma.square())
        return mean + weight[:, None, None, None] * (noisy - mean)

    sigmas = karras_sigmas(3)
    factor = math.prod(1 + (b - a) * a / (std**2 + a**2) for a, b in pairwise(sigmas))
    sample = euler_sample(denoise, noise, sigmas)
    torch.testing.assert_close(sample, mean + factor * (sigmas[0] * noise - mean))

    sample = euler_sample(denoise, noise, karras_sigmas(1000))
    factor = std / math.hypot(std, sigmas[0])
    torch.testing.assert_close(
        sample, mean + factor * (sigmas[0] * noise - mean), rtol=0.01, atol=0.01
    )
    assert float(sample.mean()) == pytest.approx(mean * (1 - factor), abs=0.05 * std + 1e-5)
    assert float(sample.std()) == pytest.approx(std, rel=0.05, abs=1e-5)


def gaussian(count: int, std: float, seed: int) -> Segment:
    """Random next frames of Gaussian pixels of mean 1/2."""
    segment = coin_flips(count, seed)
    pixels = 0.5 + std * normal(count, 1, 4, 4, seed=seed)
    segment.obs[:, 1] = (255 * pixels).round().clamp(0, 255).to(torch.uint8)
    segment.obs[:, 0] = 128
    return segment


def test_it_learns_the_best_denoiser_of_a_gaussian() -> None:
    """The expected loss of the best denoiser is a closed form, which no other falls below."""
    std = 0.1
    model, _ = build(fast(3e-3), (1, 4, 4))
    model.fit_mean(torch.full((1, 1, 4, 4), 128, dtype=torch.uint8))
    found = [model.update(gaussian(64, std, i)) for i in range(200)]
    losses = [float(metrics["loss"] - metrics["heads"]) for metrics in found]
    normals = prng.normal(prng.initial_rng(0, prng.Purpose.TRAIN, 100_000), 1)
    sigma = (LOG_SIGMA_MEAN + LOG_SIGMA_STD * normals).exp().square()
    data, assumed = (SCALE * std) ** 2, TINY_DIFFUSION.sigma_data**2
    best = float((data / assumed * (sigma + assumed) / (sigma + data)).mean())
    zero = float(((sigma * data + assumed**2) / (assumed * (sigma + assumed))).mean())
    assert losses[0] == pytest.approx(zero, rel=0.1), "the network's output is 0"
    assert 0.95 * best < sum(losses[-100:]) / 100 < 1.1 * best
    assert zero > 1.5 * best


def test_random_frames_are_drawn_by_the_keys() -> None:
    """Dark or bright, where a deterministic network predicts gray; equal keys have equal dreams."""
    model, _ = build(fast(1e-3), (1, 4, 4))
    for i in range(200):
        model.update(coin_flips(64, i))
    carry, action = start(model, first_context(coin_flips(200, 1000))), torch.zeros(200).long()
    prediction, following = model.predict(carry, action)
    brightness = prediction.obs.float().mean((1, 2, 3))
    assert float(((brightness > 50) & (brightness < 150)).float().mean()) < 0.3
    assert 0.2 < float((brightness > 100).float().mean()) < 0.8
    for key, same in ((carry["rng"], True), (following["rng"], False)):
        again, _ = model.predict(carry | {"rng": key}, action)
        assert torch.equal(again.obs, prediction.obs) == same
    reordered = {name: value.flip(0) for name, value in carry.items()}
    flipped, _ = model.predict(reordered, action)
    assert int((flipped.obs.flip(0).int() - prediction.obs.int()).abs().max()) <= 1


def test_own_frames_have_no_gradient_and_the_next_frame_reaches_the_outcome_alone() -> None:
    """Reward and discount are those of the frame that was drawn, or of the true one in training."""
    _, network = build(TINY_DIFFUSION)
    randomized(network)
    obs, target = normal(6, 2, 7, 5).requires_grad_(), normal(6, 1, 7, 5, seed=1)
    action, carry = torch.eye(3)[[0, 1, 2, 0, 1, 2]], network.initial(6, torch.device("cpu"))
    learned = network(obs, action, carry, target)
    assert learned.loss is not None
    (learned.loss.sum() + learned.features.sum()).backward()
    assert obs.grad is None
    drawn = network(obs, action, carry)
    assert not torch.allclose(drawn.features, learned.features)
    same = network(obs, action, carry, drawn.frame)
    torch.testing.assert_close(same.features, drawn.features)


def test_it_learns_the_frames_and_rewards_of_catch() -> None:
    envs = BatchedEnv(CatchConfig().build(16), seed=0)
    replay = Replay(envs.spec, capacity=10_000, gamma=1.0, monte_carlo=False)
    for t in islice(interact(envs, RandomPolicy(3)), 300):
        replay.append(t, t.next_step.reward)
    envs.close()
    model, _ = build(replace(fast(3e-3), batch_sizes=(32,)), (1, 10, 5))
    for _ in range(200):
        model.update(replay.sample_segments(*model.batch_shape))
    test = replay.sample_segments(200, 1)
    prediction, _ = model.predict(start(model, first_context(test)), test.action[:, 0])
    error = (prediction.obs.float() - test.obs[:, 1].float()).abs().amax((1, 2, 3))
    assert float((error < 64).float().mean()) > 0.9, "every pixel of the frame"
    assert torch.corrcoef(torch.stack([prediction.reward, test.reward[:, 0]]))[0, 1] > 0.5


@pytest.mark.parametrize("size", ["published", "small", "tiny"])
def test_frames_of_any_size_keep_it(size: Any) -> None:
    architecture = ARCHITECTURES[size]
    network = UNet(architecture.denoiser, 3, 2, architecture.condition)
    images, condition = normal(1, 3, 21, 10), normal(1, architecture.condition)
    assert torch.equal(network(images, condition), torch.zeros(1, 2, 21, 10))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    edges = network(images, condition)[:, :, [0, -1], :][..., [0, -1]]
    assert bool((edges != 0).all()), "also the last rows and columns are written"


def test_the_published_denoiser() -> None:
    """Four stages of 64 maps and two blocks each, and a block up for every grid on the way down."""
    network = DiffusionConfig().build_network((12, 64, 64), 18, 3)
    assert isinstance(network, DiffusionNetwork)
    grids = network.denoiser.down(torch.zeros(1, 15, 64, 64), torch.zeros(1, 256))
    assert [tuple(x.shape[1:]) for x in grids] == [
        (64, side, side) for side in (64, 32, 16, 8) for _ in range(3)
    ]
    assert len(network.denoiser.blocks) == len(grids)
    assert DiffusionConfig().build(obs_shape=(1, 8, 8), num_actions=2).batch_shape == (32, 2)


def test_attention_adds_nothing_at_first() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(SelfAttention(64)(x), x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"denoising_steps": 0}, "predictor.denoising_steps is 0; it must be 1 or more"),
        ({"sigma_data": 0.0}, "predictor.sigma_data is 0.0; it must be above 0"),
        ({"conditioning_noise": -0.1}, "predictor.conditioning_noise is -0.1"),
        ({"motion_weight": 5.0}, "predictor.motion_weight is 5.0; it must be 0, as the denoiser"),
    ],
)
def test_invalid_settings_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DiffusionConfig(**changes)
