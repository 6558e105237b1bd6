"""PSNR and SSIM against closed forms, and against windows computed one by one."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.experiments.evaluation.frame_quality import psnr, ssim


def noise(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def one_by_one(truth: Tensor, prediction: Tensor) -> float:
    """The index of one frame, from the formula at every position of the window."""
    x, y = truth.numpy().astype(float), prediction.numpy().astype(float)
    sides = [min(11, side) for side in x.shape[1:]]
    axes = [np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * 1.5**2)) for n in sides]
    weights = np.outer(*axes) / np.outer(*axes).sum()
    values = []
    for channel in range(len(x)):
        for i in range(x.shape[1] - sides[0] + 1):
            for j in range(x.shape[2] - sides[1] + 1):
                a, b = (z[channel, i : i + sides[0], j : j + sides[1]] for z in (x, y))
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a, var_b = (
                    (weights * (a - mean_a) ** 2).sum(),
                    (weights * (b - mean_b) ** 2).sum(),
                )
                cov = (weights * (a - mean_a) * (b - mean_b)).sum()
                c1, c2 = 2.55**2, 7.65**2
                values.append(
                    (2 * mean_a * mean_b + c1) * (2 * cov + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
                )  # fmt: skip
    return float(np.mean(values))


def test_equal_frames_have_the_greatest_values() -> None:
    frames = noise((3, 2, 20, 15))
    assert torch.equal(psnr(frames, frames), torch.full((3,), math.inf))
    torch.testing.assert_close(ssim(frames, frames), torch.ones(3))
    assert bool((ssim(frames, frames.roll(1, 0)) < 0.5).all())


@pytest.mark.parametrize("shift", [1, 16, 155])
def test_a_constant_shift_of_a_flat_frame(shift: int) -> None:
    """Without structure the index is the ratio of the means."""
    truth = torch.full((1, 1, 12, 30), 100, dtype=torch.uint8)
    shifted = truth + shift
    assert float(psnr(truth, shifted)) == pytest.approx(20 * math.log10(255 / shift), rel=1e-6)
    c1, mean = 2.55**2, 100 + shift
    expected = (2 * 100 * mean + c1) / (100**2 + mean**2 + c1)
    assert float(ssim(truth, shifted)) == pytest.approx(expected, rel=1e-6)


def test_the_negative_of_a_frame_has_the_opposite_structure() -> None:
    """With equal means and c2 small beside the variance, the index of a negative is near -1."""
    checker = (torch.arange(24 * 24).view(1, 1, 24, 24) + torch.arange(24)[:, None]) % 2
    frame = (checker * 255).to(torch.uint8)
    assert float(ssim(frame, 255 - frame)) == pytest.approx(-1, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 14, 13), (2, 11, 12), (3, 10, 5), (1, 4, 30), (1, 1, 1)])
def test_every_window_counts_alike(shape: tuple[int, int, int]) -> None:
    """Also where the frame is smaller than the window; each frame has a value of its own."""
    truth, other = noise((2, *shape)), noise((2, *shape), seed=1)
    prediction = (truth.float() * 0.7 + other.float() * 0.3).to(torch.uint8)
    expected = [one_by_one(x, y) for x, y in zip(truth, prediction, strict=True)]
    assert ssim(truth, prediction).tolist() == pytest.approx(expected, rel=1e-5)
