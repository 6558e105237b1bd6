"""Gaussian attention along one axis: K filters on a line of T places, to read and write through.

DRAW's windows (Gregor et al. 2015, section 3.2) are two such banks, one an axis of an image;
STRAW's (Vezhnevets et al. 2016, section 2.1) is one, on time.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """A bank of filters, each a distribution over the places, and how strongly it is looked at."""

    filters: Float[Tensor, "B K T"]
    gain: Float[Tensor, " B"]


def gaussian_filters(
    centre: Float[Tensor, " B"],
    stride: Float[Tensor, " B"],
    variance: Float[Tensor, " B"],
    *,
    count: int,
    length: int,
) -> Float[Tensor, "B {count} {length}"]:
    """``count`` Gaussians ``stride`` places apart around ``centre``, each summing to 1.

    DRAW, eqs. 19-26. A Gaussian is normalised as a softmax, so that one narrower than the distance
    to the nearest place is that place rather than 0 / 0.
    """
    offset = torch.arange(count, device=centre.device) - (count - 1) / 2
    mean = centre[:, None] + offset * stride[:, None]
    place = torch.arange(length, device=centre.device)
    distance = place - mean[:, :, None]
    return (-distance.square() / (2 * variance[:, None, None])).softmax(2)


def attend(parameters: Float[Tensor, "B 4"], *, count: int, length: int) -> Window:
    """The window that a network asks for: centre, log-stride, log-variance and log-gain.

    A centre of -1..1 after tanh is a place of 0..T-1, and a log-stride of 0 spreads the filters
    over the whole line: the zero vector looks at all of it. Logarithms end at +-10.
    """
    centre = (length - 1) / 2 * (1 + parameters[:, 0].tanh())
    stride, variance, gain = parameters[:, 1:].clamp(-10, 10).exp().unbind(1)
    spread = (length - 1) / max(1, count - 1)
    filters = gaussian_filters(centre, spread * stride, variance, count=count, length=length)
    return Window(filters, gain)


def parameters_of(centre: float, stride: float, *, count: int, length: int) -> tuple[float, float]:
    """The first two parameters of the window with this centre and stride, both in places.

    A centre at an end is put a quarter of a place inside it, where tanh still has a slope.
    """
    if length == 1:
        return 0.0, 0.0
    most = 1 - 0.5 / length
    share = min(max(2 * centre / (length - 1) - 1, -most), most)
    return math.atanh(share), math.log(stride * max(1, count - 1) / (length - 1))


def read(line: Float[Tensor, "B A T"], window: Window) -> Float[Tensor, "B A K"]:
    """What each filter sees of each row."""
    return window.gain[:, None, None] * (line @ window.filters.mT)


def write(patch: Float[Tensor, "B A K"], window: Window) -> Float[Tensor, "B A T"]:
    """The line in which each filter lays down its part of the patch; the gain is divided out."""
    return (patch @ window.filters) / window.gain[:, None, None]
