"""Refusals of observations and segments that a representation was not built for."""

from jaxtyping import UInt8
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.interface import Segment


def check_segment(segment: Segment, obs_shape: tuple[int, ...], length: int) -> None:
    """Raise UsageError for observations of another shape, or fewer than ``length`` timesteps."""
    check_obs(segment.obs[:, 0], obs_shape)
    if segment.action.shape[1] < length:
        raise UsageError(
            f"The segments have {segment.action.shape[1]} timesteps, but this representation "
            f"learns from {length}; give longer segments."
        )


def check_obs(obs: UInt8[Tensor, "B K H W"], obs_shape: tuple[int, ...]) -> None:
    """Raise UsageError for an empty batch, or observations of another shape."""
    if len(obs) == 0:
        raise UsageError("The batch of frames is empty; give at least one frame.")
    if tuple(obs.shape[1:]) != obs_shape:
        raise UsageError(
            f"The frames have shape {tuple(obs.shape[1:])}, but this representation was "
            f"built for {obs_shape}; give frames of that shape or build another."
        )
