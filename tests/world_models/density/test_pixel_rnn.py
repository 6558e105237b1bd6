"""PixelRNN: the receptive field of a pixel, and conditionals that continue those before them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.density.pixel_rnn import PixelRNN, PixelRNNConfig, RasterScan

from sample_models import random_frames

SMALL = PixelRNNConfig(hidden=8, head=8)


def build(shape: tuple[int, int], config: PixelRNNConfig = SMALL, seed: int = 0) -> PixelRNN:
    density = PixelRNN(config, shape, 4, seed=seed)
    density.update(random_frames(8, shape, 4, seed=1))
    for weight in density.net.parameters():
        weight.data *= 1.5  # so that distant pixels matter
    return density


def conditionals(density: PixelRNN, x: Tensor) -> Tensor:
    """Return the conditionals of all pixels, read in raster order."""
    found = [density.conditional(x, i, j) for i, j in np.ndindex(*density.shape)]
    return torch.stack(found, -1).view(*found[0].shape, *density.shape)


def test_a_pixel_depends_on_all_pixels_before_it_and_on_no_other() -> None:
    """Also on the last one of the row above, at the other side of the frame."""
    shape, size = (4, 14), 56
    density = build(shape, replace(SMALL, layers=1))
    x = random_frames(1, shape, 4).expand(size, -1, -1).flatten(1)
    changed = torch.where(torch.eye(size, dtype=torch.bool), (x + 2) % 4, x)
    with torch.no_grad():
        x, changed = (density.net(frames.view(-1, *shape)).flatten(2) for frames in (x, changed))
    depends = (x != changed).any(1)  # [changed pixel, predicted pixel]
    assert torch.equal(depends, torch.ones(size, size, dtype=torch.bool).triu(1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (4, 9), (9, 4)])
def test_steps_in_raster_order_equal_the_pass_over_diagonals(shape: tuple[int, int]) -> None:
    density, x = build(shape), random_frames(3, shape, 4)
    with torch.no_grad():
        expected = density.net(x).softmax(1)
    torch.testing.assert_close(conditionals(density, x), expected, rtol=0, atol=1e-6)


def test_sampling_takes_one_step_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    density, num_steps = build((4, 5)), 0
    step: Callable[..., None] = RasterScan._step_right

    def counted(scan: RasterScan, row: int, column: int) -> None:
        nonlocal num_steps
        num_steps += 1
        step(scan, row, column)

    monkeypatch.setattr(RasterScan, "_step_right", counted)
    density.sample(2)
    assert num_steps == 4 * 6 - 1


def test_a_conditional_is_the_same_in_any_order_and_after_any_change() -> None:
    density, x = build((4, 5)), random_frames(3, (4, 5), 4)
    others = build((4, 5), seed=1).state_dict()
    changed = x.clone()
    changed[1, 0, 2] = (changed[1, 0, 2] + 1) % 4

    def expect_fresh(x: Tensor, i: int, j: int) -> None:
        fresh = build((4, 5), seed=2)
        fresh.load_state_dict(density.state_dict())
        assert torch.equal(density.conditional(x, i, j), fresh.conditional(x, i, j))

    for i, j in [(2, 1), (2, 2), (1, 4), (3, 4), (3, 4), (2, 2)]:
        expect_fresh(x, i, j)
    expect_fresh(changed, 2, 3)
    expect_fresh(changed[1:], 2, 4)
    density.update(x)
    expect_fresh(changed[1:], 3, 0)
    density.load_state_dict(others)
    expect_fresh(changed[1:], 3, 1)


def test_it_begins_as_a_histogram_of_the_first_batch() -> None:
    x = random_frames(1, (4, 5), 4).repeat(20, 1, 1)
    histogram = HistogramConfig().build(shape=(4, 5), levels=4)
    histogram.observe(x)
    with_biases, without = (
        replace(SMALL, position=position).build(shape=(4, 5), levels=4)
        for position in (True, False)
    )
    for density in (with_biases, without):
        density.update(x)
    expected = histogram.log_prob(x)
    assert (with_biases.log_prob(x) > expected).all()  # its prior counts for fewer frames
    assert float(without.log_prob(x).mean()) < 5 * float(expected.mean())
