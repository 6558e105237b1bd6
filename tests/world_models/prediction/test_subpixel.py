"""Tests of the subpixel convolutions against torch's: outputs and all gradients."""

import pytest
import torch
from torch import nn

from reverie.world_models.prediction.subpixel import (
    SubpixelConv2d,
    SubpixelConvTranspose2d,
    convolution,
    deconvolution,
)

OUTPUT_PADDINGS = [(0, 0), (1, 2), (2, 0), (3, 0), (0, 3)]
"""Rows and columns of an image beyond whole strides; of 3, the last is outside all kernels."""


@pytest.mark.parametrize("output_padding", OUTPUT_PADDINGS)
def test_a_deconvolution_to_an_image_is_the_transposed_convolution(
    output_padding: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    layer = deconvolution(6, 3, 8, 4, (2, 2), output_padding).double()
    assert isinstance(layer, SubpixelConvTranspose2d)
    grid = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    output, expected = layer(grid), nn.ConvTranspose2d.forward(layer, grid)
    assert output.shape == (2, 3, 20 + output_padding[0], 28 + output_padding[1])
    assert_same(output, expected, (grid, layer.weight, layer.bias))


@pytest.mark.parametrize("output_padding", OUTPUT_PADDINGS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_convolution_of_an_image_is_the_plain_one(
    output_padding: tuple[int, int], requires_grad: bool
) -> None:
    torch.manual_seed(0)
    layer = convolution(3, 6, 8, 4, (2, 2)).double()
    assert isinstance(layer, SubpixelConv2d)
    shape = 2, 3, 20 + output_padding[0], 28 + output_padding[1]
    image = torch.randn(shape, dtype=torch.float64, requires_grad=requires_grad)
    output, expected = layer(image), nn.Conv2d.forward(layer, image)
    assert output.shape == (2, 6, 5, 7)
    assert_same(output, expected, (*[image] * requires_grad, layer.weight, layer.bias))


def test_gradients_have_the_dtype_of_their_inputs_under_autocast() -> None:
    torch.manual_seed(0)
    layer = convolution(4, 8, 8, 4, (2, 2))
    image = torch.randn(2, 4, 84, 84, requires_grad=True)
    grads = []
    for forward in (layer.forward, lambda x: nn.Conv2d.forward(layer, x)):
        with torch.autocast("cpu", torch.bfloat16):
            output = forward(image)
        assert output.dtype == torch.bfloat16
        grads.append(torch.autograd.grad(output.float().square().sum(), (image, layer.weight)))
    for subpixel, plain in zip(*grads, strict=True):
        assert subpixel.dtype == plain.dtype == torch.float32
        assert (subpixel - plain).norm() <= 0.01 * plain.norm()


def test_other_shapes_use_torchs_layers() -> None:
    assert type(convolution(4, 8, 6, 2)) is nn.Conv2d
    assert type(convolution(32, 8, 8, 4)) is nn.Conv2d
    assert type(deconvolution(8, 3, 6, 2, (1, 1), (0, 0))) is nn.ConvTranspose2d
    assert type(deconvolution(8, 32, 8, 4, (1, 1), (0, 0))) is nn.ConvTranspose2d


def assert_same(
    output: torch.Tensor, expected: torch.Tensor, inputs: tuple[torch.Tensor | None, ...]
) -> None:
    """Compare values, and the gradients of a random weighted sum of them."""
    torch.testing.assert_close(output, expected)
    weights = torch.randn_like(output)
    grads = [
        torch.autograd.grad((x * weights).sum(), [x for x in inputs if x is not None])
        for x in (output, expected)
    ]
    torch.testing.assert_close(*grads)
