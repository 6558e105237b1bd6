"""Fast convolutions of pictures are the plain ones: values, and slopes in everything."""

import pytest
import torch
from torch import nn

from world_models.prediction.subpixel import (
    SubpixelConvolution,
    SubpixelDeconvolution,
    convolution,
    deconvolution,
)

MISSED = [(0, 0), (1, 2), (2, 0), (3, 0), (0, 3)]
"""Rows and columns of a picture beyond whole strides; of 3, the last is of no place."""


@pytest.mark.parametrize("missed", MISSED)
def test_a_deconvolution_to_a_picture_is_the_transposed_convolution(
    missed: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    layer = deconvolution(6, 3, 8, 4, (2, 2), missed).double()
    assert isinstance(layer, SubpixelDeconvolution)
    grid = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    told, expected = layer(grid), nn.ConvTranspose2d.forward(layer, grid)
    assert told.shape == (2, 3, 20 + missed[0], 28 + missed[1])
    same(told, expected, (grid, layer.weight, layer.bias))


@pytest.mark.parametrize("missed", MISSED)
@pytest.mark.parametrize("learned_from", [False, True])
def test_a_convolution_of_a_picture_is_the_plain_one(
    missed: tuple[int, int], learned_from: bool
) -> None:
    torch.manual_seed(0)
    layer = convolution(3, 6, 8, 4, (2, 2)).double()
    assert isinstance(layer, SubpixelConvolution)
    shape = 2, 3, 20 + missed[0], 28 + missed[1]
    picture = torch.randn(shape, dtype=torch.float64, requires_grad=learned_from)
    told, expected = layer(picture), nn.Conv2d.forward(layer, picture)
    assert told.shape == (2, 6, 5, 7)
    same(told, expected, (*[picture] * learned_from, layer.weight, layer.bias))


def test_slopes_are_as_precise_as_what_they_are_of() -> None:
    """In bfloat16, too: a slope has the type of what it is the slope in."""
    torch.manual_seed(0)
    layer = convolution(4, 8, 8, 4, (2, 2))
    picture = torch.randn(2, 4, 84, 84, requires_grad=True)
    slopes = []
    for forward in (layer.forward, lambda x: nn.Conv2d.forward(layer, x)):
        with torch.autocast("cpu", torch.bfloat16):
            out = forward(picture)
        assert out.dtype == torch.bfloat16
        slopes.append(torch.autograd.grad(out.float().square().sum(), (picture, layer.weight)))
    for one, other in zip(*slopes, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - other).norm() <= 0.01 * other.norm()


def test_other_shapes_are_torchs_own() -> None:
    assert type(convolution(4, 8, 6, 2)) is nn.Conv2d
    assert type(convolution(32, 8, 8, 4)) is nn.Conv2d
    assert type(deconvolution(8, 3, 6, 2, (1, 1), (0, 0))) is nn.ConvTranspose2d
    assert type(deconvolution(8, 32, 8, 4, (1, 1), (0, 0))) is nn.ConvTranspose2d


def same(
    told: torch.Tensor, expected: torch.Tensor, inputs: tuple[torch.Tensor | None, ...]
) -> None:
    """Values, and the slopes of a random sum of them."""
    torch.testing.assert_close(told, expected)
    weights = torch.randn_like(told)
    slopes = [
        torch.autograd.grad((out * weights).sum(), [x for x in inputs if x is not None])
        for out in (told, expected)
    ]
    torch.testing.assert_close(*slopes)
