"""Checks of the frames and states that a density is given."""

from typing import Any

import torch
from torch import Tensor

from ...envs.errors import UsageError


def check_frames(x: Tensor, shape: tuple[int, ...], levels: int) -> None:
    """Check that frames are a non-empty uint8 batch of ``shape`` with symbols 0..levels-1.

    Raises UsageError if they are not.
    """
    if x.dtype != torch.uint8:
        raise UsageError(f"frames have dtype {x.dtype}; give symbols as torch.uint8")
    if x.shape[1:] != shape:
        raise UsageError(
            f"frames have shape {tuple(x.shape)}; this density was built for (B, *{shape}), "
            "so resize the frames or build another"
        )
    if len(x) == 0:
        raise UsageError("the batch of frames is empty; give at least one frame")
    if (largest := int(x.max())) >= levels:
        raise UsageError(
            f"frames contain symbol {largest}, but this density was built for 0..{levels - 1}; "
            "quantize the frames or build it with more levels"
        )


def check_state(state: dict[str, Any], shape: tuple[int, int], levels: int) -> None:
    """Check that a state is of a density with the same shape and levels.

    Raises UsageError if it is not.
    """
    saved_shape, saved_levels = tuple(state["shape"]), state["levels"]
    if (saved_shape, saved_levels) != (shape, levels):
        raise UsageError(
            f"the state is of a density of shape {saved_shape} with {saved_levels} levels, but "
            f"this one has shape {shape} with {levels}; build it with the saved shape and levels"
        )
