"""Gaussian attention: K filters over the T positions of an axis, through which to read and write.

Each axis has its own window. STRAW's (Vezhnevets et al. 2016, section 2) is one, along time; DRAW's
(Gregor et al. 2015, section 3.2) are two, along the rows and columns of an image; three read a
volume of frames.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AttentionWindow:
    """A bank of filters, each a distribution over positions, and a gain."""

    filters: Float[Tensor, "B K T"]
    gain: Float[Tensor, " B"]


def gaussian_filters(
    center: Float[Tensor, " B"],
    stride: Float[Tensor, " B"],
    variance: Float[Tensor, " B"],
    *,
    count: int,
    length: int,
) -> Float[Tensor, "B {count} {length}"]:
    """Return ``count`` Gaussians, ``stride`` positions apart around ``center``, that sum to 1.

        F[i, t] = exp(-(t - m_i)^2 / (2 variance)) / Z_i
        m_i = center + (i - (count - 1) / 2) stride

    DRAW, eqs. 19-26, with i and t from 0. A Gaussian is normalized by a softmax, so that one
    narrower than the distance to the nearest position selects that position instead of being 0 / 0.
    """
    offset = torch.arange(count, device=center.device) - (count - 1) / 2
    mean = center[:, None] + offset * stride[:, None]
    position = torch.arange(length, device=center.device)
    distance = position - mean[:, :, None]
    return (-distance.square() / (2 * variance[:, None, None])).softmax(2)


def attention_window(params: Float[Tensor, "B 4"], *, count: int, length: int) -> AttentionWindow:
    """Return the window of a network's outputs: center, log-stride, log-variance and log-gain.

    tanh maps the first to a position in 0..T-1. At log-stride 0 the filters cover all positions,
    so the zero vector reads the whole axis. Logarithms are clamped to +-10.
    """
    center = (length - 1) / 2 * (1 + params[:, 0].tanh())
    stride, variance, gain = params[:, 1:].clamp(-10, 10).exp().unbind(1)
    full_stride = (length - 1) / max(1, count - 1)
    filters = gaussian_filters(center, full_stride * stride, variance, count=count, length=length)
    return AttentionWindow(filters, gain)


def center_and_stride_params(
    center: float, stride: float, *, count: int, length: int
) -> tuple[float, float]:
    """Return the first two parameters of the window with this center and stride, in positions.

    A center at either end is moved inside by a quarter of a position, where tanh has a gradient.
    """
    if length == 1:
        return 0.0, 0.0
    limit = 1 - 0.5 / length
    scaled = min(max(2 * center / (length - 1) - 1, -limit), limit)
    return math.atanh(scaled), math.log(stride * max(1, count - 1) / (length - 1))


def extent(window: AttentionWindow) -> Float[Tensor, "B 2"]:
    """Return the edges of what a window covers, where position t is from t to t + 1.

    It ends half a stride beyond the means of the first and the last filter, or a standard deviation
    of the filter where that is more; a single filter covers half a position at least.
    """
    filters = window.filters
    position = torch.arange(filters.shape[2], device=filters.device) + 0.5
    mean = filters @ position
    std = (filters * (position - mean[:, :, None]).square()).sum(2).sqrt()
    stride = (mean[:, -1] - mean[:, 0]) / max(1, filters.shape[1] - 1)
    reach = (stride / 2).clamp(min=0.5 if filters.shape[1] == 1 else 0)
    first, last = mean[:, 0] - reach.maximum(std[:, 0]), mean[:, -1] + reach.maximum(std[:, -1])
    return torch.stack([first, last], 1)


def read(x: Float[Tensor, "B ..."], *windows: AttentionWindow) -> Float[Tensor, "B ..."]:
    """Return the weighted means of ``x`` under the filters of its last axes, times their gains.

        gain (x F^T)

    Each window is along one of the last axes, in order; F holds its filters, [K T], and an axis of
    T positions becomes one of K. The gain is the product of the gains of all windows. Two windows
    read a patch of an image (DRAW, eq. 27).
    """
    filters = enumerate((window.filters for window in windows), start=-len(windows))
    return _gain(x, windows) * _along_axes(x, reversed([*filters]))  # the contiguous axis first


def write(patch: Float[Tensor, "B ..."], *windows: AttentionWindow) -> Float[Tensor, "B ..."]:
    """Return the sum of the filters weighted by the patch, divided by the gains.

        (patch F) / gain

    The transpose of ``read``, but for the gain: an axis of K numbers becomes one of T positions
    (DRAW, eq. 29).
    """
    filters = enumerate((window.filters.mT for window in windows), start=-len(windows))
    return _along_axes(patch, filters) / _gain(patch, windows)


def _gain(x: Float[Tensor, "B ..."], windows: Sequence[AttentionWindow]) -> Float[Tensor, "B ..."]:
    """Return the product of the gains, to be multiplied with ``x``."""
    product = math.prod((window.gain for window in windows[1:]), start=windows[0].gain)
    return product.view(-1, *[1] * (x.ndim - 1))


def _along_axes(
    x: Float[Tensor, "B ..."], matrices: Iterable[tuple[int, Float[Tensor, "B _ _"]]]
) -> Float[Tensor, "B ..."]:
    """Multiply axes of ``x`` by matrices, in turn."""
    for axis, matrix in matrices:
        moved = x.movedim(axis, -1)
        rows = moved.reshape(len(x), -1, moved.shape[-1]) @ matrix.mT
        x = rows.reshape(*moved.shape[:-1], -1).movedim(-1, axis)
    return x
