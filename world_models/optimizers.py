"""Loading the states of optimizers."""

from copy import deepcopy
from typing import Any

import torch


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a copy of a saved state, in the memory layout of the parameters.

    A checkpoint keeps values without strides, and a fused kernel reads a parameter and its moments
    in memory order, whatever their strides are.
    """
    optimizer.load_state_dict(deepcopy(state))  # torch keeps references to the given tensors
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, torch.Tensor) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)
