"""How DRAW reads a frame and writes to its canvas: through windows, or all pixels at once."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..attention import AttentionWindow, attention_window, extent, read, write


class Whole(nn.Module):
    """Reads and writes all pixels, without attention."""

    def __init__(self, hidden: int, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.num_read = 2 * math.prod(shape[1:])
        self.pixels = _small_linear(hidden, math.prod(shape))

    def read(
        self, images: Float[Tensor, "R 2 *frame"], hidden: Float[Tensor, "R hidden"]
    ) -> Float[Tensor, "R num_read"]:
        """Return all pixels."""
        return images.flatten(1)

    def write(
        self, hidden: Float[Tensor, "R hidden"]
    ) -> tuple[Tensor, tuple[AttentionWindow, ...]]:
        """Return what is added to the canvas, and no windows."""
        return self.pixels(hidden), ()


class Windowed(nn.Module):
    """Reads and writes through windows along rows and columns, and with ``depth`` along time."""

    def __init__(
        self, hidden: int, shape: tuple[int, int, int, int], *, read: int, write: int, depth: int
    ) -> None:
        super().__init__()
        maps, *self.volume = shape
        frames, time = depth or shape[1], (depth,) if depth else ()
        lengths = shape[-2 - len(time) :]
        self.num_read = 2 * frames * read**2
        self.patch_shape = maps, frames, write, write
        self.read_windows = Windows(hidden, (*time, read, read), lengths, writes=False)
        self.write_windows = Windows(hidden, (*time, write, write), lengths, writes=True)
        self.patch = _small_linear(hidden, math.prod(self.patch_shape))

    def read(
        self, images: Float[Tensor, "R 2 *frame"], hidden: Float[Tensor, "R hidden"]
    ) -> Float[Tensor, "R num_read"]:
        """Return the patches of both images that the decoder's output selects."""
        images = images.view(len(images), 2, *self.volume)
        return read(images, *self.read_windows(hidden)).flatten(1)

    def write(
        self, hidden: Float[Tensor, "R hidden"]
    ) -> tuple[Tensor, tuple[AttentionWindow, ...]]:
        """Return what is added to the canvas, and the windows of the patch."""
        windows = self.write_windows(hidden)
        patch = self.patch(hidden).view(-1, *self.patch_shape)
        return write(patch, *windows), windows


class Windows(nn.Module):
    """Windows along the last axes of a frame, given the decoder's output (section 3.2).

    Rows and columns share stride, variance and gain; time has a stride and a variance of its own.
    At first they cover the frame without gaps, and what is written through them has the size of the
    patch, because its gain makes up for filters that sum to 1.
    """

    def __init__(
        self, hidden: int, counts: tuple[int, ...], lengths: tuple[int, ...], *, writes: bool
    ) -> None:
        super().__init__()
        self.counts, self.lengths = counts, lengths
        self.params = nn.Linear(hidden, 5 if len(counts) == 2 else 8)
        strides = [(n - 1) / max(k - 1, 1) for k, n in zip(counts, lengths, strict=True)]
        log_strides = [math.log(max(stride, 1)) for stride in strides]
        with torch.no_grad():
            self.params.bias.zero_()
            self.params.bias[3] = 2 * (max(log_strides[-2:]) - math.log(2))
            self.params.bias[4] = -sum(log_strides) if writes else 0
            self.params.bias[7:] = 2 * (log_strides[0] - math.log(2))

    def forward(self, hidden: Float[Tensor, "R hidden"]) -> tuple[AttentionWindow, ...]:
        """Return a window for each axis, rows and columns last."""
        row, column, stride, variance, gain, *time = self.params(hidden).float().unbind(1)
        one = torch.zeros_like(gain)  # log-gain of the other windows
        params = [(row, stride, variance, gain), (column, stride, variance, one)]
        if time:
            params.insert(0, (*time, one))
        axes = zip(params, self.counts, self.lengths, strict=True)
        return tuple(attention_window(torch.stack(p, 1), count=k, length=n) for p, k, n in axes)


def _small_linear(hidden: int, outputs: int) -> nn.Linear:
    """Return a layer without bias, so small that the canvas begins at the background."""
    layer = nn.Linear(hidden, outputs, bias=False)
    nn.init.normal_(layer.weight, std=0.01 / hidden**0.5)
    return layer


def box_of(windows: tuple[AttentionWindow, ...]) -> Float[Tensor, "B 4"]:
    """Return top, left, bottom and right edge of what windows along rows and columns cover."""
    (top, bottom), (left, right) = (extent(window).unbind(1) for window in windows[-2:])
    return torch.stack([top, left, bottom, right], 1)
