"""Checkpoints: the complete state of a run, from which it resumes bit for bit.

A checkpoint is one small file, named by its agent step. Large tensors are stored beside it in
blocks, which checkpoints share: data that has not changed since the last checkpoint (most of a
replay buffer) is not written again. A block that is damaged or missing is restored from the parity
of its group. The newest two checkpoints are kept. Nothing is unpickled.
"""

import hashlib
import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...envs.errors import UsageError
from .blocks import BLOCK_NAME, BLOCK_SIZE, Blocks, BlockWriter, DamagedBlock, Group
from .disk_errors import describe, remedy, reporting_disk_errors
from .files import (
    FORMAT,
    check_format,
    is_own,
    make_folder,
    open_own,
    remove_partial_files,
    replacing,
    sync_folder,
)
from .runtime import available_memory

NUM_KEPT = 2
"""Number of checkpoints that are kept."""
CHECKPOINT_NAME = re.compile(r"[0-9]{12,}\.pt")
BLOCKS_KEY = "reverie.blocks"
"""Key that marks a dictionary as a large tensor, with the names of its blocks as the value."""
DIGEST_SIZE = 32
"""Bytes of the SHA-256 digest at the beginning of a checkpoint's file."""

State = dict[str, Any]


class DamagedCheckpoint(Exception):
    """A checkpoint's own file does not have the content that was written."""


class Checkpoints:
    """The checkpoints of one run folder.

    Example::

        checkpoints.save(1000, {"agent": agent.state_dict()})
        state = checkpoints.load()  # the newest, or None
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.blocks = folder, Blocks(folder / "blocks")
        self._files: dict[int, set[str]] = {}  # names of blocks and parities by step
        self._groups: Sequence[Group] = ()  # of the last checkpoint that was saved or loaded

    def steps(self) -> list[int]:
        """Return the agent steps of the existing checkpoints in ascending order.

        Raises OSError if the folder cannot be read: its checkpoints are then not taken for missing.
        """
        if not self.folder.exists():
            return []
        paths = (self.folder / name for name in os.listdir(self.folder))
        return sorted(int(path.stem) for path in paths if is_own(path, CHECKPOINT_NAME))

    def path(self, step: int) -> Path:
        """Return the file of the checkpoint of an agent step."""
        return self.folder / f"{step:012d}.pt"

    def save(self, step: int, state: State) -> None:
        """Write a checkpoint atomically; earlier ones stay complete even if the process is killed.

        Raises RunError if it cannot be written.
        """
        with reporting_disk_errors(self.folder):
            make_folder(self.blocks.folder)
            writer = BlockWriter(self.blocks, self._groups)
            packed = _map_tensors(lambda tensor: _pack(tensor, writer), state)
            self._groups = writer.close()
            self.blocks.write_restored()
            sync_folder(self.blocks.folder)
            body = io.BytesIO()
            torch.save({"format": FORMAT, "state": packed, "groups": self._groups}, body)
            with replacing(self.path(step)) as file:
                file.write(hashlib.sha256(body.getbuffer()).digest())
                file.write(body.getbuffer())
            sync_folder(self.folder)
            self._files[step] = _names_of_files(packed, self._groups)
        # A later one could not be read, or this run would have continued from it.
        for later in [s for s in self.steps() if s > step]:
            self.path(later).unlink()
        self._remove_unused()

    def load(self, select: Callable[[State], State] | None = None) -> State | None:
        """Load the newest complete checkpoint to the CPU; None if there is no checkpoint.

        ``select`` returns the part of a state that is wanted; blocks of the rest are not read, so
        that their damage does no harm. A block that had to be restored, and a damaged checkpoint,
        which is skipped, are reported on stderr; nothing in the folder is changed. Raises
        UsageError if there are checkpoints and all are damaged, or if one has another format.
        """
        damages: list[str] = []
        remedies = ["move the folder away to start again"]
        for step in reversed(self.steps()):
            try:
                state = self._load(step, select)
            except (DamagedCheckpoint, DamagedBlock) as error:
                damages.append(f"The checkpoint {self.path(step)} is damaged ({error})")
                continue
            except OSError as error:
                damages.append(describe(error, self.path(step)))
                remedies.insert(0, remedy(error))
                continue
            for damage in damages:
                print(f"{damage}; continuing from the one of step {step:,}.", file=sys.stderr)
            return state
        if damages:
            raise UsageError(
                f"{'. '.join(damages)}. There is no other checkpoint, and nothing was changed; "
                f"{', or '.join(dict.fromkeys(remedies))}."
            )
        return None

    def unneeded(self, num_kept: int) -> list[Path]:
        """Return the checkpoints before the newest ``num_kept``, then what these do not need.

        Returns nothing if one of those that are kept cannot be read.
        """
        steps, names = self.steps(), set[str]()
        kept = steps[max(len(steps) - num_kept, 0) :]
        try:
            for step in kept:
                names |= _names_of_files(*self._read_packed(step))
        except (DamagedCheckpoint, OSError, UsageError):
            return []
        files = sorted(self.blocks.folder.iterdir()) if self.blocks.folder.exists() else []
        older = [self.path(step) for step in steps if step not in kept]
        return older + [path for path in files if path.name not in names]

    def newest_is_whole(self) -> bool:
        """Return whether the newest checkpoint and all of its blocks are as they were written."""
        try:
            names = _names_of_files(*self._read_packed(self.steps()[-1]))
        except (DamagedCheckpoint, OSError, UsageError):
            return False
        return self.blocks.are_whole(names)

    def _load(self, step: int, select: Callable[[State], State] | None) -> State:
        """Load one checkpoint; report what is damaged and can be restored."""
        packed, groups = self._read_packed(step)
        wanted = select(packed) if select else packed
        sizes = [0]  # of blocks that may be stored once and read often
        _map_tensors(lambda x: sizes.append(_num_bytes(x) if isinstance(x, dict) else 0), wanted)
        if sum(sizes) > (available := available_memory()):
            raise UsageError(
                f"The checkpoint {self.path(step)} needs {sum(sizes) / 1e9:,.1f} GB of memory, and "
                f"{available / 1e9:,.1f} GB are free; nothing was changed."
            )
        self.blocks.restored.clear()
        state: State = _map_tensors(lambda x: _unpack(x, self.blocks, groups), wanted)
        if select is None:
            self.blocks.verify_parities(groups)
        if names := [name[:12] for name in self.blocks.restored]:
            print(
                f"{len(names)} of the blocks in {self.blocks.folder} were damaged or missing and "
                f"have been restored from their parity ({', '.join(names)}); nothing is lost, and "
                "the next checkpoint of the run writes them again.",
                file=sys.stderr,
            )
        self._files[step], self._groups = _names_of_files(packed, groups), groups
        return state

    def _read_packed(self, step: int) -> tuple[State, list[Group]]:
        """Return a checkpoint's state, with names of blocks for their bytes, and their groups."""
        with open_own(self.path(step), "rb") as file:
            data = file.read()
        digest, body = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
        if hashlib.sha256(body).digest() != digest:
            raise DamagedCheckpoint("it is truncated or modified")
        try:
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for data that it refuses to load
            raise DamagedCheckpoint("it holds objects that are not loaded for safety") from error
        if not isinstance(loaded, dict):
            raise DamagedCheckpoint("it is no checkpoint")
        check_format(self.path(step), loaded.get("format"), "train again in another folder")
        try:
            return _checked(loaded.get("state"), loaded.get("groups", []))
        except RecursionError:
            raise DamagedCheckpoint("its state is nested too deeply") from None

    def _remove_unused(self) -> None:
        """Remove old checkpoints, their unshared blocks, and partly written files.

        Nothing is removed while a checkpoint that is to be kept cannot be read.
        """
        remove_partial_files(self.folder)
        steps = self.steps()
        kept = steps[-NUM_KEPT:]
        for step in kept:
            try:
                if step not in self._files:
                    self._files[step] = _names_of_files(*self._read_packed(step))
            except (DamagedCheckpoint, OSError, UsageError) as error:
                print(
                    f"The checkpoint {self.path(step)} cannot be read ({error}); older checkpoints "
                    "and all blocks are kept until it is replaced, because it may need them.",
                    file=sys.stderr,
                )
                return
        for step in steps[:-NUM_KEPT]:
            self.path(step).unlink()
        self._files = {step: self._files[step] for step in kept}
        self.blocks.remove_others(set().union(*self._files.values()))


def _pack(tensor: Tensor, writer: BlockWriter) -> Any:
    """Return a copy of a tensor or, if it is large, its type and the names of its blocks."""
    tensor = tensor.detach().cpu()
    if tensor.nbytes < BLOCK_SIZE:
        return tensor.clone(memory_format=torch.contiguous_format)
    return {
        BLOCKS_KEY: writer.write(_split_blocks(tensor.contiguous())),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
    }


def _unpack(packed: Any, blocks: Blocks, groups: Sequence[Group]) -> Tensor:
    """Invert ``_pack``."""
    if isinstance(packed, Tensor):
        return packed
    tensor = torch.empty(packed["shape"], dtype=getattr(torch, packed["dtype"]))
    blocks.read(packed[BLOCKS_KEY], _split_blocks(tensor), groups)
    return tensor


def _map_tensors(change: Callable[[Any], Any], state: Any) -> Any:
    """Return a nested state with every tensor changed, also those in blocks."""
    if isinstance(state, Tensor) or (isinstance(state, dict) and BLOCKS_KEY in state):
        return change(state)
    if isinstance(state, dict):
        return {name: _map_tensors(change, value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_map_tensors(change, value) for value in state]
    return state


def _num_bytes(packed: dict[str, Any]) -> int:
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


def _checked(state: Any, groups: Any) -> tuple[State, list[Group]]:
    """Return both; raise DamagedCheckpoint if one is not as ``save`` has written it."""
    if not (
        isinstance(state, dict)
        and isinstance(groups, list)
        and all(_are_block_names(group) and group for group in groups)
    ):
        raise DamagedCheckpoint("it holds no state")
    _map_tensors(lambda x: _num_bytes(x) if isinstance(x, dict) else 0, state)
    return state, groups


def _are_block_names(names: Any) -> bool:
    return isinstance(names, list) and all(
        isinstance(name, str) and BLOCK_NAME.fullmatch(name) for name in names
    )


def _names_of_files(packed: State, groups: Sequence[Group]) -> set[str]:
    """Return the names of all blocks and parities of a checkpoint."""
    names = {name for group in groups for name in group}
    _map_tensors(lambda x: names.update(x[BLOCKS_KEY] if isinstance(x, dict) else ()), packed)
    return names


def _split_blocks(tensor: Tensor) -> Iterator[memoryview]:
    """Yield the memory of a contiguous tensor in blocks."""
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    data = memoryview(array)
    return (data[i : i + BLOCK_SIZE] for i in range(0, len(data), BLOCK_SIZE))
