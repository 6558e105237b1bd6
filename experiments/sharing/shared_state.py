"""The state of a trained part as named tensors and a tree of plain values, and back.

Shared are the parts that act and predict. Buffers of data to learn from and states of optimizers
are left out, and are new after an import.
"""

from collections import OrderedDict
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.interface import Stateful
from ...world_models.state import without_buffers
from .share_file import Header, ShareFile

TENSOR = "$tensor"
"""Key that marks the place of a tensor in a tree, with its name as the value."""
OPTIMIZER_KEYS = {"state", "param_groups"}
"""Keys of the state of an optimizer of torch."""
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16,
    "I32": torch.int32, "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16,
    "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
"""Dtypes by their names in a file."""


def shared_state(part: Stateful) -> dict[str, Any]:
    """Return a part's state without buffers and states of optimizers."""
    state: dict[str, Any] = _without_optimizers(without_buffers(part, part.state_dict()))
    return state


def round_weights(state: Any) -> Any:
    """Return a state with bfloat16 for float32 weights of networks, and matrices as of keys."""
    if isinstance(state, OrderedDict):  # torch returns one for a module
        return OrderedDict((k, _rounded(x)) for k, x in state.items())
    if isinstance(state, dict):
        return {name: round_weights(x) for name, x in state.items()}
    if isinstance(state, list | tuple):
        return [*map(round_weights, state)]
    return _rounded(state) if isinstance(state, Tensor) and state.ndim == 2 else state


def loses_by_rounding(part: Stateful, rounded: Any) -> bool:
    """Load a part's own rounded state, and return whether any number of its state has changed."""
    before = deepcopy(shared_state(part))
    part.load_state_dict(complete(_as_float32(rounded), part.state_dict()))
    return not _equal(before, shared_state(part))


def pack(state: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a state as JSON values, and add its tensors to ``tensors`` by their dotted names.

    Raises UsageError for a value that JSON does not have.
    """
    if isinstance(state, Tensor):
        if state.dtype not in DTYPES.values() or name in tensors:
            raise UsageError(
                f"{name} is a tensor of {state.dtype}, or not the only one of its name, so this "
                "run cannot be exported; copy its folder instead."
            )
        tensors[name] = state
        return {TENSOR: name}
    if isinstance(state, dict) and all(isinstance(x, str) and x != TENSOR for x in state):
        return {key: pack(x, f"{name}.{key}", tensors) for key, x in state.items()}
    if isinstance(state, list | tuple):
        return [pack(x, f"{name}.{i}", tensors) for i, x in enumerate(state)]
    if state is None or isinstance(state, bool | int | float | str):
        return state
    raise UsageError(
        f"{name} is a {type(state).__name__}, which a file cannot hold, so this run cannot be "
        "exported; copy its folder instead."
    )


def check_tree(tree: Any, part: Any, name: str, header: Header) -> None:
    """Check the tensors that a tree names against the state of a part that was built like it.

    ``part`` is new. A tensor of weights has the part's own shape; the number of rows of one that
    grows in training is free, and so are contents that a new part does not have yet. Raises
    ValueError, which names the tensor or the value.
    """
    _check(tree, shared_state(part), part, name, header, exact=False)


def unpack(tree: Any, file: ShareFile) -> Any:
    """Invert ``pack``; raises ValueError, which names the tensor, for a number that is not finite.

    Rounded weights are float32 again.
    """
    if isinstance(tree, dict) and TENSOR in tree:
        tensor = file.read(tree[TENSOR]).clone()
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"its {tree[TENSOR]} has a number that is not finite")
        return _as_float32(tensor)
    if isinstance(tree, dict):
        return {key: unpack(x, file) for key, x in tree.items()}
    return [unpack(x, file) for x in tree] if isinstance(tree, list) else tree


def complete(state: Any, new: Any) -> Any:
    """Return a shared state with what it leaves out as in the state of a new part."""
    if isinstance(state, dict) and isinstance(new, dict):
        filled = {key: complete(x, new.get(key)) for key, x in state.items()}
        return {key: x for key, x in new.items() if key not in state} | filled
    if isinstance(state, list) and isinstance(new, list) and len(state) == len(new):
        return [complete(*pair) for pair in zip(state, new, strict=True)]
    return state


def names_in(tree: Any) -> list[str]:
    """Return the names of the tensors of a tree."""
    if isinstance(tree, dict):
        if TENSOR in tree:
            return [str(tree[TENSOR])]
        tree = list(tree.values())
    return [name for x in tree for name in names_in(x)] if isinstance(tree, list) else []


def _without_optimizers(state: Any) -> Any:
    if isinstance(state, OrderedDict):
        return state
    if isinstance(state, dict):
        return {k: _without_optimizers(x) for k, x in state.items() if not _is_optimizer(x)}
    return [*map(_without_optimizers, state)] if isinstance(state, list | tuple) else state


def _is_optimizer(state: Any) -> bool:
    return isinstance(state, dict) and state.keys() == OPTIMIZER_KEYS


def _as_float32(state: Any) -> Any:
    """Return a state with float32 for bfloat16."""
    if isinstance(state, Tensor):
        return state.float() if state.dtype == torch.bfloat16 else state
    if isinstance(state, dict):
        return {name: _as_float32(x) for name, x in state.items()}
    return [*map(_as_float32, state)] if isinstance(state, list | tuple) else state


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_equal(x, b[name]) for name, x in a.items())
    if isinstance(a, list | tuple):
        return all(map(_equal, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


def _rounded(x: Any) -> Any:
    return x.bfloat16() if isinstance(x, Tensor) and x.dtype == torch.float32 else x


def _check(tree: Any, expected: Any, part: Any, name: str, header: Header, *, exact: bool) -> None:
    if isinstance(expected, Tensor):
        _check_tensor(tree, expected, name, header, exact=exact)
    elif isinstance(expected, dict):
        if not isinstance(tree, dict) or TENSOR in tree:
            raise ValueError(f"its {name} is no group of values")
        if expected and (missing := [x for x in expected if x not in tree]):
            raise ValueError(f"it lacks {name}.{missing[0]}")
        if expected and (extra := [x for x in tree if x not in expected]):
            raise ValueError(f"it has {name}.{extra[0]}, which this part does not have")
        for key, value in expected.items():
            own = getattr(part, key, None)
            same = (
                isinstance(own, Tensor) and isinstance(value, Tensor) and own.shape == value.shape
            )
            exact = same or isinstance(expected, OrderedDict)
            _check(tree[key], value, own, f"{name}.{key}", header, exact=exact)
    elif isinstance(expected, list | tuple):
        if not isinstance(tree, list) or (expected and len(tree) != len(expected)):
            raise ValueError(f"its {name} is no list of {len(expected)}")
        for i, pair in enumerate(zip(tree, expected, strict=False)):
            _check(*pair, None, f"{name}.{i}", header, exact=False)
    elif expected is not None and isinstance(tree, dict | list):
        raise ValueError(f"its {name} is no {type(expected).__name__}")


def _check_tensor(tree: Any, expected: Tensor, name: str, header: Header, *, exact: bool) -> None:
    if not isinstance(tree, dict) or tree.get(TENSOR) not in header:
        raise ValueError(f"it lacks the tensor {name}")
    dtype, shape = header[tree[TENSOR]]
    own = list(expected.shape)
    rounded = dtype == "BF16" and expected.dtype == torch.float32
    if DTYPES.get(dtype) != expected.dtype and not rounded:
        raise ValueError(f"its {name} is {dtype}, not {expected.dtype}")
    free = not exact and len(own) > 0
    if len(shape) != len(own) or shape[free:] != own[free:]:
        raise ValueError(f"its {name} has the shape {shape}, and the config needs {own}")
