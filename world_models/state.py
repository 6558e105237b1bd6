"""States of checkpoints: a class names the attributes that belong to its state."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..envs.errors import UsageError
from ..envs.interface import Stateful

PLAIN = bool, int, float, str, bytes, type(None)


class HasState:
    """Base of classes whose state consists of the attributes named in ``STATE``.

    An attribute may be a part with a ``state_dict`` of its own, a tensor, a dictionary of tensors,
    a generator of torch, or a plain value.

    Example::

        from reverie.world_models.state import HasState

        class Counter(HasState):
            STATE = ("count",)

            def __init__(self) -> None:
                self.count = 0

        Counter().load_state_dict({"count": 3})
    """

    STATE: ClassVar[tuple[str, ...]] = ()
    BUFFERS: ClassVar[tuple[str, ...]] = ()
    """Names in ``STATE`` of the data to learn from, which acting does not read: a state may lack
    them (see ``without_buffers``)."""
    PER_ENV: ClassVar[tuple[str, ...]] = ()
    """Names in ``STATE`` of the tensors with a row per env, which several processes share (see
    ``map_envs``)."""

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state of every attribute by name.

        A part with large tensors may return them uncopied from a ``state_dict`` of its own.
        """
        return {name: _state_of(getattr(self, name)) for name in self.STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore every attribute; raises KeyError for one that is missing, and no buffer."""
        for name in self.STATE:
            if name in self.BUFFERS and name not in state:
                continue
            value = getattr(self, name)
            if isinstance(value, torch.optim.Optimizer):
                load_optimizer(value, state[name])
            elif isinstance(value, torch.Generator):
                value.set_state(state[name].cpu())
            elif isinstance(value, Stateful):
                value.load_state_dict(state[name])
            elif isinstance(value, Tensor):
                setattr(self, name, state[name].to(value.device, copy=True))
            elif isinstance(value, dict):
                setattr(self, name, _restored(value, state[name]))
            else:
                setattr(self, name, deepcopy(state[name]))


def check_storable(part: Any, name: str) -> None:
    """Check that a checkpoint can give back the state of a part, or this state.

    Raises UsageError, which names the value, for one that is neither a tensor nor plain.
    """
    state = part.state_dict() if isinstance(part, Stateful) else part
    if isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            check_storable(value, f"{name}.{key}")
    elif not isinstance(state, Tensor) and type(state) not in PLAIN:
        kind = type(state)
        raise UsageError(
            f"The {name} is a {kind.__module__}.{kind.__qualname__}, which no checkpoint gives "
            "back. Let a part of yours subclass HasState, and name in STATE what it has learned; "
            "make an array of numpy a tensor, and another value a number or a text of Python."
        )


def without_buffers(part: Any, state: Any) -> Any:
    """Return the state of a part, and of the parts in it, without what only learning reads."""
    if not isinstance(state, dict) or not isinstance(part, Stateful):
        return state
    buffers = getattr(part, "BUFFERS", ())
    return {
        name: without_buffers(getattr(part, name, None), value)
        for name, value in state.items()
        if name not in buffers
    }


def map_envs(part: Any, state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return the state of a part, and of the parts in it, with every tensor of envs changed."""
    if not isinstance(state, dict) or not isinstance(part, Stateful):
        return state
    per_env = getattr(part, "PER_ENV", ())
    return {
        name: change(x) if name in per_env else map_envs(getattr(part, name, None), x, change)
        for name, x in state.items()
    }


def _state_of(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, nn.Module | torch.optim.Optimizer):
        return deepcopy(value.state_dict())
    return value.state_dict() if isinstance(value, Stateful) else deepcopy(value)


def _restored(present: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a saved dictionary, its tensors on the devices of the present ones."""
    return {
        name: x.to(present[name].device, copy=True)
        if isinstance(x, Tensor) and isinstance(present.get(name), Tensor)
        else deepcopy(x)
        for name, x in state.items()
    }


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
