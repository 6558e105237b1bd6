"""A run's state as the content of a checkpoint's file: large tensors are names of blocks.

A tensor is described by its type and the names of its blocks. A description that this module does
not write is refused before memory is taken for it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .blocks import BLOCK_NAME, BLOCK_SIZE, Blocks, BlockWriter, Group
from .jsonl import Mark, is_mark

BLOCKS_KEY = "reverie.blocks"
"""Key that marks a dictionary as a large tensor, with the names of its blocks as the value."""

State = dict[str, Any]


class DamagedCheckpoint(Exception):
    """A checkpoint's own file does not have the content that was written."""


class Packed(NamedTuple):
    """What the file of a checkpoint holds, beside its format."""

    state: State
    """Large tensors as their type and the names of their blocks."""
    groups: list[Group]
    marks: dict[str, Mark]
    """Of the files that grow beside the checkpoints."""


def pack(tensor: Tensor, writer: BlockWriter) -> Any:
    """Return a copy of a tensor or, if it is large, its type and the names of its blocks."""
    tensor = tensor.detach().cpu()
    if tensor.nbytes < BLOCK_SIZE:
        return tensor.clone(memory_format=torch.contiguous_format)
    return {
        BLOCKS_KEY: writer.write(_split_blocks(tensor.contiguous())),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
    }


def unpack(packed: Any, blocks: Blocks, groups: Sequence[Group]) -> Tensor:
    """Invert ``pack``."""
    if isinstance(packed, Tensor):
        return packed
    tensor = torch.empty(packed["shape"], dtype=getattr(torch, packed["dtype"]))
    blocks.read(packed[BLOCKS_KEY], _split_blocks(tensor), groups)
    return tensor


def map_tensors(change: Callable[[Any], Any], state: Any) -> Any:
    """Return a nested state with every tensor changed, also those in blocks."""
    if isinstance(state, Tensor) or (isinstance(state, dict) and BLOCKS_KEY in state):
        return change(state)
    if isinstance(state, dict):
        return {name: map_tensors(change, value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [map_tensors(change, value) for value in state]
    return state


def num_bytes(packed: dict[str, Any]) -> int:
    """Return the size of a tensor in blocks; raises DamagedCheckpoint for no such description."""
    names, shape = packed[BLOCKS_KEY], packed.get("shape")
    dtype = getattr(torch, str(packed.get("dtype")), None)
    if not (
        isinstance(dtype, torch.dtype)
        and isinstance(shape, list)
        and all(type(n) is int and n >= 0 for n in shape)
        and _are_block_names(names)
    ):
        raise DamagedCheckpoint("it holds a tensor without a valid description")
    size = math.prod(shape) * dtype.itemsize
    if len(names) != -(-size // BLOCK_SIZE):
        raise DamagedCheckpoint(f"a tensor of {size:,} bytes has {len(names)} blocks")
    return size


def checked(body: dict[str, Any]) -> Packed:
    """Return the content of a file; raise DamagedCheckpoint if it is not as ``save`` writes it."""
    state, groups, marks = body.get("state"), body.get("groups", []), body.get("marks", {})
    if not (
        isinstance(state, dict)
        and isinstance(groups, list)
        and all(_are_block_names(group) and group for group in groups)
        and isinstance(marks, dict)
        and all(is_mark(mark) for mark in marks.values())
    ):
        raise DamagedCheckpoint("it holds no state")
    map_tensors(lambda x: num_bytes(x) if isinstance(x, dict) else 0, state)
    return Packed(state, groups, marks)


def _are_block_names(names: Any) -> bool:
    return isinstance(names, list) and all(
        isinstance(name, str) and BLOCK_NAME.fullmatch(name) for name in names
    )


def names_of_files(packed: Packed) -> set[str]:
    """Return the names of all blocks and parities of a checkpoint."""
    return set(sizes_of_blocks(packed))


def sizes_of_blocks(packed: Packed) -> dict[str, int | None]:
    """Return the size of every block of a checkpoint, and None for every parity."""
    sizes: dict[str, int | None] = {name: None for group in packed.groups for name in group}

    def add(x: Any) -> None:
        if isinstance(x, dict):
            names, size = x[BLOCKS_KEY], num_bytes(x)
            sizes.update({n: min(BLOCK_SIZE, size - i * BLOCK_SIZE) for i, n in enumerate(names)})

    map_tensors(add, packed.state)
    return sizes


def _split_blocks(tensor: Tensor) -> Iterator[memoryview]:
    """Yield the memory of a contiguous tensor in blocks."""
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    data = memoryview(array)
    return (data[i : i + BLOCK_SIZE] for i in range(0, len(data), BLOCK_SIZE))
