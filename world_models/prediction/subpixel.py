"""Convolutions from and to pictures of few channels, as a CPU computes them fast.

Where a kernel is twice its stride, each pixel is of 2 x 2 places of the grid alone, so scattering a
grid to a picture equals a convolution of 2 x 2 and a pixel shuffle (Shi et al. 2016, "Is the
deconvolution layer the same as a convolutional layer?"). To a few channels that is several times
faster than torch's transposed convolution, which is also the slope of a convolution in its input.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]

FEW = 4
"""Channels of a picture for which this is worth it."""


def scatter(
    grid: Float[Tensor, "B D H W"],
    weight: Float[Tensor, "D C K K"],
    bias: Float[Tensor, " C"] | None,
    padding: Pair,
    more: Pair,
) -> Float[Tensor, "B C H_ W_"]:
    """``conv_transpose2d``, its stride half its kernel; ``more`` is its output padding."""
    stride, (rows, columns) = weight.shape[-1] // 2, padding
    # The kernel's halves, the nearer place's last, become 2 x 2 taps; its pixels, channels.
    halves = weight.reshape(*weight.shape[:2], 2, stride, 2, stride).flip(2, 4)
    taps = halves.permute(1, 3, 5, 0, 2, 4).reshape(-1, len(weight), 2, 2)
    bias = None if bias is None else bias.repeat_interleave(stride**2)
    fine = functional.pixel_shuffle(functional.conv2d(grid, taps, bias, padding=1), stride)
    height, width = fine.shape[2:]
    return fine[..., rows : height - rows + more[0], columns : width - columns + more[1]]


class SubpixelDeconvolution(nn.ConvTranspose2d):
    """A transposed convolution to a picture."""

    def forward(
        self, grid: Float[Tensor, "B D H W"], output_size: list[int] | None = None
    ) -> Float[Tensor, "B C H_ W_"]:
        padding, more = _pair(self.padding), _pair(self.output_padding)
        if grid.device.type != "cpu" or _beyond(padding, more):
            return super().forward(grid, output_size)
        return scatter(grid, self.weight, self.bias, padding, more)


class SubpixelConvolution(nn.Conv2d):
    """A convolution of a picture."""

    def forward(self, picture: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H_ W_"]:
        padding, kernel, stride = _pair(self.padding), self.kernel_size[0], self.stride[0]
        height, width = picture.shape[2:]
        more = (
            (height + 2 * padding[0] - kernel) % stride,
            (width + 2 * padding[1] - kernel) % stride,
        )
        plain = picture.device.type != "cpu" or not picture.requires_grad
        if plain or _beyond(padding, more):
            return super().forward(picture)
        out, kept = super().forward(picture.detach()), (self.weight, padding, more)
        sloping: Tensor = _InputSlope.apply(out, picture, *kept)  # type: ignore[no-untyped-call]
        return sloping


class _InputSlope(torch.autograd.Function):
    """A convolution's output as it is; backwards, also its slope in the picture."""

    @staticmethod
    def forward(
        ctx: Any, out: Tensor, picture: Tensor, weight: Tensor, padding: Pair, more: Pair
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how = picture.dtype, padding, more
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        ((slope,), (weight,)), (dtype, padding, more) = (slopes, ctx.saved_tensors), ctx.how
        back = scatter(slope, weight.detach().to(slope.dtype), None, padding, more).to(dtype)
        return slope, back, None, None, None


def convolution(
    before: int, after: int, kernel: int, stride: int, padding: Pair = (0, 0)
) -> nn.Conv2d:
    """A convolution, in the form that is fast for its shape."""
    kind = SubpixelConvolution if kernel == 2 * stride and before <= FEW else nn.Conv2d
    return kind(before, after, kernel, stride, padding)


def deconvolution(
    before: int, after: int, kernel: int, stride: int, padding: Pair, output_padding: Pair
) -> nn.ConvTranspose2d:
    """A transposed convolution, in the form that is fast for its shape."""
    kind = SubpixelDeconvolution if kernel == 2 * stride and after <= FEW else nn.ConvTranspose2d
    return kind(before, after, kernel, stride, padding, output_padding)


def _beyond(padding: Pair, more: Pair) -> bool:
    """Whether there are pixels that no place of the grid reaches."""
    return more[0] > padding[0] or more[1] > padding[1]


def _pair(numbers: Any) -> Pair:
    """As torch's layers keep a size."""
    return int(numbers[0]), int(numbers[1])
