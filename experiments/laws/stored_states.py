"""Comparison of the states of two parts, and a part restored from a checkpoint of another."""

from io import BytesIO
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...envs.interface import Stateful
from ...world_models.state import check_storable

P = TypeVar("P", bound=Stateful)


def same(a: Any, b: Any) -> bool:
    """Return whether two states are equal, bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)


def same_state(a: Stateful, b: Stateful) -> bool:
    """Return whether the states of two parts are equal."""
    return same(a.state_dict(), b.state_dict())


def restored(part: Stateful, new: P) -> P:
    """Return the new part with the state of another, written and read as in a checkpoint.

    Raises UsageError for a state that no checkpoint gives back.
    """
    check_storable(part, "state")
    file = BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    new.load_state_dict(torch.load(file, weights_only=True))
    return new
