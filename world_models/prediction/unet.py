"""The U-Net of DIAMOND, whose normalizations are modulated by a condition (Alonso et al. 2024).

Stages of residual blocks at falling resolutions, two blocks with self-attention at the lowest one,
and back up, where each block also reads the output of its counterpart on the way down (Ronneberger
et al. 2015). A block's group-norms are scaled and shifted by functions of the condition, here the
action and the noise level ("adaptive group normalization").
"""

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .subpixel import convolution, deconvolution

GROUP_SIZE, HEAD_DIM = 32, 8
"""Channels that are normalized together, and those of a head of self-attention."""


@dataclass(frozen=True)
class Stages:
    """Stages of one size of the network, from the highest resolution to the lowest."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    """Residual blocks of each stage on the way down; on the way up there is one more."""
    strides: tuple[int, ...]
    """Factors of the resolution between stages."""
    patch: int = 1
    """Side of the pixels of a position of the first stage. Above 1 the images' resolution has no
    stage: there the output has a sum of the images, weighted by functions of the condition."""

    @property
    def stride(self) -> int:
        """Pixels of a position of the lowest stage."""
        return self.patch * prod(self.strides)

    def steps(self) -> list[tuple[int, int, int]]:
        """Return the channels above and below, and the stride, of each step between stages."""
        return list(zip(self.channels, self.channels[1:], self.strides, strict=False))


class AdaptiveGroupNorm(nn.Module):
    """Group normalization, scaled and shifted by linear functions of the condition."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.groups = max(1, channels // GROUP_SIZE)
        self.linear = nn.Linear(condition, 2 * channels)

    def forward(
        self, x: Float[Tensor, "B C H W"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the normalized grid."""
        scale, shift = self.linear(condition)[:, :, None, None].chunk(2, 1)
        normalized: Tensor = functional.group_norm(x, self.groups)
        return torch.addcmul(shift, normalized, 1 + scale)


class ResidualBlock(nn.Module):
    """Two convolutions, each of a normalized grid, beside the identity.

    The weights of the second are 0 at first, so that it adds its bias alone, as published.
    """

    def __init__(
        self, in_channels: int, out_channels: int, condition: int, attention: bool = False
    ) -> None:
        super().__init__()
        same = in_channels == out_channels
        self.project = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        self.norm1 = AdaptiveGroupNorm(in_channels, condition)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = AdaptiveGroupNorm(out_channels, condition)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        self.attention = SelfAttention(out_channels) if attention else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B C H W"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B C_ H W"]:
        """Return the grid after both convolutions."""
        hidden = self.conv1(functional.silu(self.norm1(x, condition)))
        hidden = self.conv2(functional.silu(self.norm2(hidden, condition)))
        output: Tensor = self.attention(self.project(x) + hidden)
        return output


class SelfAttention(nn.Module):
    """Multi-head attention among the positions of a grid, added to it; at first it adds 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_DIM)
        self.norm = nn.GroupNorm(max(1, channels // GROUP_SIZE), channels)
        self.read = nn.Conv2d(channels, 3 * channels, 1)
        self.write = nn.Conv2d(channels, channels, 1)
        for weight in self.write.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the grid plus what each position reads from all."""
        tokens = self.read(self.norm(x)).flatten(2)  # [B 3C HW]
        query, key, value = tokens.unflatten(1, (3, self.heads, -1)).transpose(3, 4).unbind(1)
        found = functional.scaled_dot_product_attention(query, key, value)  # [B heads HW C/heads]
        written: Tensor = self.write(found.transpose(2, 3).reshape(x.shape))
        return x + written


class DownPath(nn.Module):
    """A convolution, and the stages at falling resolutions."""

    def __init__(self, stages: Stages, in_channels: int, condition: int) -> None:
        super().__init__()
        self.stages, channels, patch = stages, stages.channels, stages.patch
        self.first: nn.Module = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        if patch > 1:
            self.first = convolution(in_channels, channels[0], 2 * patch, patch, (patch // 2,) * 2)
        self.lower = nn.ModuleList(_lower(*ends) for ends in stages.steps())
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, condition)
            for width, depth in zip(channels, stages.depths, strict=True)
            for _ in range(depth)
        )

    def forward(
        self, images: Float[Tensor, "B K H W"], condition: Float[Tensor, "B D"]
    ) -> list[Tensor]:
        """Return the grids in order, of each stage its input and the outputs of its blocks.

        Images are padded with zeros to a multiple of the stride of the lowest stage.
        """
        (height, width), stride = images.shape[2:], self.stages.stride
        x = functional.pad(images, (0, -width % stride, 0, -height % stride))
        grids, blocks = [], iter(self.blocks)
        for enter, depth in zip([self.first, *self.lower], self.stages.depths, strict=True):
            x = enter(x)
            grids.append(x)
            for _ in range(depth):
                x = next(blocks)(x, condition)
                grids.append(x)
        return grids


class UNet(nn.Module):
    """Images to images of the same size, given a condition; its output is 0 at first."""

    def __init__(self, stages: Stages, in_channels: int, out_channels: int, condition: int) -> None:
        super().__init__()
        self.stages, channels = stages, stages.channels
        self.down = DownPath(stages, in_channels, condition)
        self.middle = nn.ModuleList(
            ResidualBlock(channels[-1], channels[-1], condition, attention=True) for _ in range(2)
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(2 * width, width, condition)
            for width, depth in zip(channels[::-1], stages.depths[::-1], strict=True)
            for _ in range(depth + 1)
        )
        self.higher = nn.ModuleList(_higher(*ends) for ends in reversed(stages.steps()))
        self.norm = nn.GroupNorm(max(1, channels[0] // GROUP_SIZE), channels[0])
        self.last: nn.Module = nn.Conv2d(channels[0], out_channels, 3, padding=1)
        self.pixels: nn.Module | None = None
        if (patch := stages.patch) > 1:
            half = patch // 2, patch // 2
            self.last = deconvolution(channels[0], out_channels, 2 * patch, patch, half, (0, 0))
            self.pixels = WeightedSum(in_channels, out_channels, condition)
        for weight in self.last.parameters():
            nn.init.zeros_(weight)

    def forward(
        self, images: Float[Tensor, "B K H W"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the output images."""
        height, width = images.shape[2:]
        grids, blocks = self.down(images, condition), iter(self.blocks)
        x = grids[-1]
        for block in self.middle:
            x = block(x, condition)
        for depth, leave in zip(
            self.stages.depths[::-1], [*self.higher, nn.Identity()], strict=True
        ):
            for _ in range(depth + 1):
                x = next(blocks)(torch.cat([x, grids.pop()], 1), condition)
            x = leave(x)
        output: Tensor = self.last(functional.silu(self.norm(x)))[:, :, :height, :width]
        return output if self.pixels is None else output + self.pixels(images, condition)


class WeightedSum(nn.Module):
    """Sums of the images, weighted by linear functions of the condition, which are 0 at first."""

    def __init__(self, in_channels: int, out_channels: int, condition: int) -> None:
        super().__init__()
        self.shape = out_channels, in_channels
        self.weight = nn.Linear(condition, in_channels * out_channels)
        for weight in self.weight.parameters():
            nn.init.zeros_(weight)

    def forward(
        self, images: Float[Tensor, "B K H W"], condition: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B C H W"]:
        """Return a sum for each output channel."""
        weight = self.weight(condition).unflatten(1, self.shape)  # [B C K]
        return torch.bmm(weight, images.flatten(2)).view(len(images), -1, *images.shape[2:])


def _lower(above: int, below: int, stride: int) -> nn.Module:
    """Return the convolution to a lower resolution; at a stride of 4 its patches do not overlap."""
    kernel = max(3, stride)
    return nn.Conv2d(above, below, kernel, stride, (kernel - stride + 1) // 2)


def _higher(above: int, below: int, stride: int) -> nn.Module:
    """Return the layers to a higher resolution.

    They repeat positions, as published; at a stride of 4 pixels of a patch have their own weights.
    """
    if stride == 2:
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(below, above, 3, padding=1))
    return nn.Sequential(nn.Conv2d(below, above * stride**2, 1), nn.PixelShuffle(stride))
