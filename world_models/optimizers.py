"""Optimizers and their states."""

from copy import deepcopy
from typing import Any

import torch


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer a copy of a saved state, laid out in memory as its parameters are.

    A checkpoint keeps values and no layout, and a fused kernel reads a parameter and its moments
    as they lie in memory, whatever their strides say.
    """
    optimizer.load_state_dict(deepcopy(state))  # torch keeps what it is given
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, torch.Tensor) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)
