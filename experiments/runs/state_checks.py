"""Checks of checkpointed states: types and shapes when loaded, finite numbers when saved."""

from typing import Any

from torch import Tensor

from ...envs.errors import NumericalError
from ...envs.interface import Carry, Stateful

ACCEPTED_TYPES: dict[type, Any] = {float: (float, int), tuple: (tuple, list), list: (tuple, list)}
"""Types that are accepted in place of a type; by default a type itself."""


def restore(part: Stateful, state: Any, name: str) -> None:
    """Load the state of a new part.

    Raises ValueError if its types differ from the part's own, or if a number is not finite.
    """
    check_types(state, part.state_dict(), name)
    try:
        check_finite_state(state, name)
    except NumericalError as error:
        raise ValueError(f"its {str(error).rstrip('.')}") from error
    part.load_state_dict(state)


def check_types(state: Any, expected: Any, name: str) -> None:
    """Raise ValueError, which names the value, if a type differs from that in ``expected``.

    Tensors are compared by dtype and number of axes. Values that ``expected`` lacks are ignored.
    """
    if isinstance(expected, dict) and isinstance(state, dict):
        for key in expected.keys() & state.keys():
            check_types(state[key], expected[key], f"{name}.{key}")
    elif isinstance(expected, Tensor):
        kind = expected.dtype, expected.ndim
        if not isinstance(state, Tensor) or (state.dtype, state.ndim) != kind:
            raise ValueError(f"its {name} is no {expected.dtype} tensor of {expected.ndim} axes")
    elif expected is not None and not isinstance(
        state, ACCEPTED_TYPES.get(type(expected), type(expected))
    ):
        raise ValueError(f"its {name} is a {type(state).__name__}")


def check_finite_state(state: Any, name: str) -> None:
    """Raise NumericalError, which names the tensor, if a number of a state is not finite."""
    if isinstance(state, dict):
        for key, value in state.items():
            check_finite_state(value, f"{name}.{key}")
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            check_finite_state(value, f"{name}.{i}")
    elif isinstance(state, Tensor) and state.is_floating_point() and not state.isfinite().all():
        first = state[~state.isfinite()].flatten()[0]
        raise NumericalError(f"{name} holds {float(first)}.")


def check_carry(carry: Carry, expected: Carry) -> None:
    """Raise ValueError if the names, shapes or dtypes of a carry differ from the expected ones."""
    kinds = [{k: (tuple(v.shape), v.dtype) for k, v in c.items()} for c in (carry, expected)]
    if kinds[0] != kinds[1]:
        raise ValueError("its carry is that of another agent")


def check_count(count: Any, name: str) -> int:
    """Return a count of a checkpoint; raises ValueError if it is no natural number."""
    check_types(count, 0, name)
    if count < 0:
        raise ValueError(f"its {name} is {count}")
    return int(count)
