"""States of several seeds as one state, whose tensors hold the envs of all seeds in order."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def concat_states(states: Sequence[Any]) -> Any:
    """Concatenate the tensors of nested states along their first axis; other values are equal."""
    first = states[0]
    if isinstance(first, dict):
        return {name: concat_states([state[name] for state in states]) for name in first}
    if isinstance(first, list):
        return [concat_states(items) for items in zip(*states, strict=True)]
    return torch.cat(list(states)) if isinstance(first, Tensor) else first


def split_states(state: Any, count: int) -> list[Any]:
    """Return the states of equal sizes that ``concat_states`` joined; their tensors are views."""
    if isinstance(state, dict):
        parts = {name: split_states(value, count) for name, value in state.items()}
        return [{name: part[i] for name, part in parts.items()} for i in range(count)]
    if isinstance(state, list):
        items = [split_states(value, count) for value in state]
        return [[item[i] for item in items] for i in range(count)]
    return list(state.chunk(count)) if isinstance(state, Tensor) else [state] * count
