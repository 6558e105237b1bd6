"""Convolutions from and to images of few channels, in a form that is fast on a CPU.

If a kernel is twice its stride, each pixel depends on 2 x 2 positions of the grid only, so the
transposed convolution of a grid to an image equals a convolution of 2 x 2 and a pixel shuffle (Shi
et al. 2016, "Is the deconvolution layer the same as a convolutional layer?"). For a few channels
that is several times faster than torch's transposed convolution, which is also the gradient of a
convolution with respect to its input.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]

MAX_CHANNELS = 4
"""Image channels up to which the subpixel form is faster."""


def subpixel_conv_transpose2d(
    grid: Float[Tensor, "B D H W"],
    weight: Float[Tensor, "D C K K"],
    bias: Float[Tensor, " C"] | None,
    padding: Pair,
    output_padding: Pair,
) -> Float[Tensor, "B C H_ W_"]:
    """Compute ``conv_transpose2d`` with a stride of half the kernel."""
    stride, (rows, columns) = weight.shape[-1] // 2, padding
    # The kernel's halves, the nearer position's last, become 2 x 2 taps; its pixels, channels.
    halves = weight.reshape(*weight.shape[:2], 2, stride, 2, stride).flip(2, 4)
    taps = halves.permute(1, 3, 5, 0, 2, 4).reshape(-1, len(weight), 2, 2)
    bias = None if bias is None else bias.repeat_interleave(stride**2)
    image = functional.pixel_shuffle(functional.conv2d(grid, taps, bias, padding=1), stride)
    height, width = image.shape[2:]
    bottom, right = height - rows + output_padding[0], width - columns + output_padding[1]
    return image[..., rows:bottom, columns:right]


class SubpixelConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution to an image."""

    def forward(
        self, grid: Float[Tensor, "B D H W"], output_size: list[int] | None = None
    ) -> Float[Tensor, "B C H_ W_"]:
        """Return the image of a grid, as ``nn.ConvTranspose2d`` does."""
        padding, output_padding = _pair(self.padding), _pair(self.output_padding)
        if grid.device.type != "cpu" or _uncovered(padding, output_padding):
            return super().forward(grid, output_size)
        return subpixel_conv_transpose2d(grid, self.weight, self.bias, padding, output_padding)


class SubpixelConv2d(nn.Conv2d):
    """A convolution of an image, with a fast gradient with respect to the image."""

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H_ W_"]:
        """Return the grid of an image, as ``nn.Conv2d`` does."""
        padding, kernel, stride = _pair(self.padding), self.kernel_size[0], self.stride[0]
        height, width = image.shape[2:]
        output_padding = (
            (height + 2 * padding[0] - kernel) % stride,
            (width + 2 * padding[1] - kernel) % stride,
        )
        plain = image.device.type != "cpu" or not image.requires_grad
        if plain or _uncovered(padding, output_padding):
            return super().forward(image)
        output = super().forward(image.detach())
        with_grad: Tensor = _InputGradient.apply(  # type: ignore[no-untyped-call]
            output, image, self.weight, padding, output_padding
        )
        return with_grad


class _InputGradient(torch.autograd.Function):
    """Return a convolution's output; backward adds its gradient with respect to the image."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, image: Tensor, weight: Tensor, padding: Pair, output_padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.arguments = image.dtype, padding, output_padding
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (weight,) = grads, ctx.saved_tensors
        dtype, padding, output_padding = ctx.arguments
        image_grad = subpixel_conv_transpose2d(
            grad, weight.detach().to(grad.dtype), None, padding, output_padding
        )
        return grad, image_grad.to(dtype), None, None, None


def convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int, padding: Pair = (0, 0)
) -> nn.Conv2d:
    """Return a convolution, in the form that is fast for its shape."""
    subpixel = kernel == 2 * stride and in_channels <= MAX_CHANNELS
    kind = SubpixelConv2d if subpixel else nn.Conv2d
    return kind(in_channels, out_channels, kernel, stride, padding)


def deconvolution(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int,
    padding: Pair,
    output_padding: Pair,
) -> nn.ConvTranspose2d:
    """Return a transposed convolution, in the form that is fast for its shape."""
    subpixel = kernel == 2 * stride and out_channels <= MAX_CHANNELS
    kind = SubpixelConvTranspose2d if subpixel else nn.ConvTranspose2d
    return kind(in_channels, out_channels, kernel, stride, padding, output_padding)


def _uncovered(padding: Pair, output_padding: Pair) -> bool:
    """Whether some pixels are outside the kernels of all positions of the grid."""
    return output_padding[0] > padding[0] or output_padding[1] > padding[1]


def _pair(size: Any) -> Pair:
    return int(size[0]), int(size[1])
