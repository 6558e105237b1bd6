"""What every density asks of the frames and the states it is given."""

from typing import Any

import torch
from torch import Tensor

from envs.interface import UsageError


def check_frames(x: Tensor, shape: tuple[int, int], levels: int) -> None:
    """Refuse frames that are not a non-empty uint8 batch of ``shape`` with symbols 0..levels-1.

    Raises ``UsageError``.
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
            f"frames hold symbol {largest}, but this density knows 0..{levels - 1}; "
            "quantise the frames or build it with more levels"
        )


def check_state(state: dict[str, Any], shape: tuple[int, int], levels: int) -> None:
    """Refuse the state of a density built for other frames; raises ``UsageError``."""
    theirs = (tuple(state["shape"]), state["levels"])
    if theirs != (shape, levels):
        raise UsageError(
            f"the state is of a density of shape {theirs[0]} with {theirs[1]} levels, this one has "
            f"shape {shape} with {levels}; build it as the saved one was"
        )
