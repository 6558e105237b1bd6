"""The mean frame, which a predictor subtracts from its inputs and adds to its outputs."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.interface import Segment
from ..precision import to_channels_last
from ..state import HasState


@runtime_checkable
class HasMeanFrame(Protocol):
    """A predictor that subtracts a mean frame."""

    def fit_mean(self, frames: UInt8[Tensor, "M C H W"]) -> None:
        """Set the mean frame to that of these frames."""


def observation_weights(segment: Segment) -> Float[Tensor, "B T1"]:
    """Return 1 for the observations up to the end of an episode, and 0 for those after it."""
    of_steps = segment.valid.cumprod(1).float()
    return torch.cat([torch.ones_like(of_steps[:, :1]), of_steps], 1)


class MeanFrame(HasState):
    """Mean of training frames, in 0..1; black until ``fit``."""

    STATE = ("value", "fitted")

    def __init__(self, frame_shape: tuple[int, int, int], device: torch.device | str) -> None:
        self.value = torch.zeros(frame_shape, device=device)
        self.fitted = False

    def fit(self, frames: UInt8[Tensor, "M C H W"]) -> None:
        """Set the mean to that of these frames."""
        self.value.copy_(frames.float().mean(0) / 255)
        self.fitted = True

    def fit_first(self, segment: Segment) -> None:
        """Set the mean to that of the newest frames of a segment's episodes, if it was not set."""
        if not self.fitted:
            obs = segment.obs[observation_weights(segment) > 0]
            self.fit(obs[:, -len(self.value) :].to(self.value.device))

    def center(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Scale stacked frames to 0..1 and subtract the mean."""
        mean = self.value.repeat(obs.shape[1] // len(self.value), 1, 1)
        scaled = to_channels_last(obs).float().div_(255)
        return scaled.sub_(mean)

    def to_bytes(self, frame: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
        """Return predicted, centered frames as bytes."""
        pixels = ((frame.float() + self.value) * 255).round_().clamp_(0, 255)
        return pixels.to(torch.uint8)
