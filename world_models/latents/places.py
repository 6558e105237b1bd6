"""Where the objects of a frame are: codes of places, their windows, and attention to errors.

A place is a log scale, a row and a column, each N(0, 1) a priori, so that centers are uniform over
the frame.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from ..attention import AttentionWindow, gaussian_filters

PLACE = 3
"""Numbers of a place."""
SCALE = 0.25
"""Standard deviation of the logarithm of an object's size a priori."""
RATE = 10
"""Of learning what few gradients reach, in learning rates."""


class Places(nn.Module):
    """The places of patches of ``glimpse`` rows and columns in frames of (H, W) pixels."""

    def __init__(self, glimpse: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.glimpse, self.shape = glimpse, shape
        # At first the logits are nats of an error of standard deviation 0.1.
        self.log_sharpness = nn.Parameter(torch.tensor([math.log(50) / RATE]))
        self.attraction = nn.Parameter(torch.empty(1))
        self.attract()

    @torch.no_grad()
    def attract(self) -> None:
        """Set the attraction so that a place is where the errors are."""
        self.attraction.fill_(3 / RATE)

    def attend(self, error: Float[Tensor, "R K H W"]) -> Float[Tensor, "R 3"]:
        """Return the place, of the usual size, around which the squared errors are largest.

        It is the mean of a softmax of the errors around each pixel, times a factor below 1, at 0 of
        which it is the mean of the prior.
        """
        rows, columns = (_neighborhoods(n, self.glimpse / 4).to(error) for n in self.shape)
        with torch.autocast(error.device.type, enabled=False):  # a softmax of large numbers
            energy = (rows @ error.square().sum(1) @ columns).flatten(1)
        attention = ((RATE * self.log_sharpness).exp() * energy).softmax(1)
        attention = attention.unflatten(1, self.shape)
        center = [torch.full_like(attention[:, 0, 0], 0.5)]
        for axis, length in zip((2, 1), self.shape, strict=True):
            positions = (torch.arange(length, device=error.device) + 0.5) / length
            center.append((attention.sum(axis) * positions).sum(1))
        place: Tensor = (RATE * self.attraction).tanh() * ndtri(torch.stack(center, 1))
        return place

    def windows(
        self, place: Float[Tensor, "R 3"], *, writing: bool = False
    ) -> list[AttentionWindow]:
        """Return the windows of rows and columns at a place, which may be partly off the frame.

        A filter is as wide as the distance of two, or of two pixels if that is larger, so that what
        a constant patch writes is constant.
        """
        stride, margin = _stride(place[:, 0]), self.glimpse // 2 + 1
        variance = (stride.clamp(min=1) / 2).square()
        gain = 1 / stride if writing else torch.ones_like(stride)
        found = []
        for center, length in zip(place[:, 1:].unbind(1), self.shape, strict=True):
            padded, position = length + 2 * margin, length * ndtr(center) - 0.5 + margin
            filters = gaussian_filters(
                position, stride, variance, count=self.glimpse, length=padded
            )
            found.append(AttentionWindow(filters[:, :, margin:-margin], gain))
        return found

    def boxes(self, place: Float[Tensor, "*S 3"]) -> Float[Tensor, "*S 4"]:
        """Return top, left, bottom and right edge of the patches at places, in pixels."""
        half = self.glimpse / 2 * _stride(place[..., :1])
        center = ndtr(place[..., 1:]) * half.new_tensor(self.shape)
        return torch.cat([center - half, center + half], -1)


def _stride(log_scale: Tensor) -> Tensor:
    """Return the distance in the frame of two pixels of a patch, within exp(+-2)."""
    return (SCALE * log_scale.clamp(-8, 8)).exp()


def _neighborhoods(length: int, std: float) -> Float[Tensor, "{length} {length}"]:
    """Return the weight of each position around each other one, 1 at itself."""
    position = torch.arange(length) / std
    return (-(position[:, None] - position).square() / 2).exp()
