"""What a checkpoint gives back: to parts of the same kind alone, and never without numbers."""

from typing import Any

from torch import Tensor

from envs.errors import NumericalError
from envs.interface import Stateful


def restore(part: Stateful, state: Any, name: str) -> None:
    """Give a fresh part its state; raises ValueError where that is not of the part's kind."""
    check_alike(state, part.state_dict(), name)
    part.load_state_dict(state)


def check_alike(state: Any, fresh: Any, name: str) -> None:
    """Raise ValueError, which names it, where a value is not of the kind of a fresh part's.

    Numbers stay numbers and tensors keep their types and axes; what a fresh part lacks is let by.
    """
    if isinstance(fresh, dict) and isinstance(state, dict):
        for key in fresh.keys() & state.keys():
            check_alike(state[key], fresh[key], f"{name}.{key}")
    elif isinstance(fresh, Tensor):
        if not isinstance(state, Tensor) or (state.dtype, state.ndim) != (fresh.dtype, fresh.ndim):
            raise ValueError(f"its {name} is no {fresh.dtype} tensor of {fresh.ndim} axes")
    elif fresh is not None and not isinstance(state, _ALIKE.get(type(fresh), type(fresh))):
        raise ValueError(f"its {name} is a {type(state).__name__}")


def check_numbers(state: Any, name: str) -> None:
    """Raise NumericalError, which names it, where a number of a state is not finite."""
    if isinstance(state, dict):
        for key, value in state.items():
            check_numbers(value, f"{name}.{key}")
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            check_numbers(value, f"{name}.{i}")
    elif isinstance(state, Tensor) and state.is_floating_point() and not state.isfinite().all():
        broken = state[~state.isfinite()].flatten()[0]
        raise NumericalError(f"{name} holds {float(broken)}.")


def check_same_kind(memory: dict[str, Tensor], fresh: dict[str, Tensor]) -> None:
    """Raise ValueError where a memory is not of the names, shapes and types of a fresh one."""
    kinds = [{k: (tuple(v.shape), v.dtype) for k, v in m.items()} for m in (memory, fresh)]
    if kinds[0] != kinds[1]:
        raise ValueError("its memory is another agent's")


def check_tick(tick: Any) -> int:
    """A checkpoint's tick; raises ValueError where that is no number of ticks."""
    check_alike(tick, 0, "tick")
    if tick < 0:
        raise ValueError(f"its tick is {tick}")
    return int(tick)


_ALIKE: dict[type, Any] = {float: (float, int), tuple: (tuple, list), list: (tuple, list)}
