"""Checkpoints: the complete state of a run, from which it resumes bit for bit.

A checkpoint is one small file, named by its agent step. Large tensors are stored beside it in
content-addressed blocks, files named by the SHA-256 of their bytes: data that has not changed since
the last checkpoint (most of a replay buffer) is not written again, and damaged data is detected.
The newest two checkpoints are kept. Nothing is unpickled.
"""

import errno
import hashlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...envs.errors import RunError, UsageError
from .files import FORMAT, check_format, remove_partial_files, replacing, sync_folder

NUM_KEPT = 2
"""Number of checkpoints that are kept."""
BLOCK_SIZE = 4 << 20
"""Bytes of a block; smaller tensors are stored in the checkpoint's own file."""
BLOCKS_KEY = "reverie.blocks"
"""Key that marks a dictionary as a large tensor, with the names of its blocks as the value."""
DIGEST_SIZE = 32
"""Bytes of the SHA-256 digest at the beginning of a checkpoint's file."""
RESUMABLE = "the last checkpoint is complete. Make room, and the same command continues from it."

State = dict[str, Any]


class DamagedCheckpoint(Exception):
    """A file of a checkpoint does not have the content that was written."""


class Checkpoints:
    """The checkpoints of one run folder.

    Example::

        checkpoints.save(1000, {"agent": agent.state_dict()})
        state = checkpoints.load()  # the newest, or None
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.blocks = folder, folder / "blocks"
        self._block_names: dict[int, set[str]] = {}  # by step, of the checkpoints on disk
        self._verified: set[str] = set()  # blocks written, or read and verified, by this process
        self._workers = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def steps(self) -> list[int]:
        """Return the agent steps of the existing checkpoints in ascending order."""
        return sorted(int(path.stem) for path in self.folder.glob("*.pt") if path.stem.isdigit())

    def path(self, step: int) -> Path:
        """Return the file of the checkpoint of an agent step."""
        return self.folder / f"{step:012d}.pt"

    def save(self, step: int, state: State) -> None:
        """Write a checkpoint atomically; earlier ones stay complete even if the process is killed.

        Raises RunError if the disk is full.
        """
        with report_full_disk(self.folder):
            self.blocks.mkdir(parents=True, exist_ok=True)
            packed = _map_tensors(self._pack, state)
            sync_folder(self.blocks)
            body = io.BytesIO()
            torch.save({"format": FORMAT, "state": packed}, body)
            with replacing(self.path(step)) as file:
                file.write(hashlib.sha256(body.getbuffer()).digest())
                file.write(body.getbuffer())
            sync_folder(self.folder)
            self._block_names[step] = _names_of_blocks(packed)
        # A later one could not be read, or this run would have continued from it.
        for later in [s for s in self.steps() if s > step]:
            self.path(later).unlink()
        self._remove_unused()

    def load(self) -> State | None:
        """Load the newest complete checkpoint to the CPU; None if there is no checkpoint.

        Damaged ones are reported on stderr and skipped; nothing in the folder is changed. Raises
        UsageError if there are checkpoints and all are damaged, or if one has another format.
        """
        damages: list[str] = []
        for step in reversed(self.steps()):
            try:
                state: State = _map_tensors(self._unpack, self._read_packed(step))
            except (DamagedCheckpoint, OSError) as error:
                damages.append(f"The checkpoint {self.path(step)} is damaged ({error})")
                continue
            for damage in damages:
                print(f"{damage}; continuing from the one of step {step:,}.", file=sys.stderr)
            return state
        if damages:
            raise UsageError(
                f"{'. '.join(damages)}. There is no other checkpoint, and nothing was changed; "
                "move the folder away to start again."
            )
        return None

    def _read_packed(self, step: int) -> State:
        """Return the state of a checkpoint with the names of its blocks in place of their bytes."""
        data = self.path(step).read_bytes()
        digest, body = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
        if hashlib.sha256(body).digest() != digest:
            raise DamagedCheckpoint("it is truncated or modified")
        try:
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for data that it refuses to load
            raise DamagedCheckpoint("it holds objects that are not loaded for safety") from error
        check_format(self.path(step), loaded.get("format"), "train again in another folder")
        packed: State = loaded["state"]
        return packed

    def _pack(self, tensor: Tensor) -> Any:
        """Return a copy of a tensor or, if it is large, its type and the names of its blocks."""
        tensor = tensor.detach().cpu()
        if tensor.nbytes < BLOCK_SIZE:
            return tensor.clone(memory_format=torch.contiguous_format)
        return {
            BLOCKS_KEY: [*self._workers.map(self._write_block, _split_blocks(tensor.contiguous()))],
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
        }

    def _unpack(self, packed: Any) -> Tensor:
        """Invert ``_pack``."""
        if isinstance(packed, Tensor):
            return packed
        tensor = torch.empty(packed["shape"], dtype=getattr(torch, packed["dtype"]))
        list(self._workers.map(self._read_block, packed[BLOCKS_KEY], _split_blocks(tensor)))
        return tensor

    def _write_block(self, data: memoryview) -> str:
        """Write a block unless it is known to be on disk, and return its name."""
        name = hashlib.sha256(data).hexdigest()
        if name not in self._verified:
            with replacing(self.blocks / name) as file:
                file.write(data)
            self._verified.add(name)
        return name

    def _read_block(self, name: str, target: memoryview) -> None:
        """Read a block into ``target``; raises DamagedCheckpoint if its content is wrong."""
        self._verified.discard(name)
        with open(self.blocks / name, "rb") as file:
            right_size = file.readinto(target) == len(target) and not file.read(1)
        if not right_size or hashlib.sha256(target).hexdigest() != name:
            raise DamagedCheckpoint(f"its block {name[:12]} has other content than was written")
        self._verified.add(name)

    def _remove_unused(self) -> None:
        """Remove old checkpoints, their unshared blocks, and partly written files."""
        remove_partial_files(self.folder)
        for step in self.steps()[:-NUM_KEPT]:
            self.path(step).unlink()
        self._block_names = {
            step: self._block_names.get(step) or self._read_block_names(step)
            for step in self.steps()
        }
        used = set().union(*self._block_names.values())
        self._verified &= used
        for path in self.blocks.iterdir():
            if path.name not in used:
                path.unlink()

    def _read_block_names(self, step: int) -> set[str]:
        """Return the names of the blocks of a checkpoint that another process wrote."""
        try:
            return _names_of_blocks(self._read_packed(step))
        except (DamagedCheckpoint, OSError, UsageError):  # its blocks are of no use
            return set()


def _map_tensors(change: Callable[[Any], Any], state: Any) -> Any:
    """Return a nested state with every tensor changed, also those in blocks."""
    if isinstance(state, Tensor) or (isinstance(state, dict) and BLOCKS_KEY in state):
        return change(state)
    if isinstance(state, dict):
        return {name: _map_tensors(change, value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_map_tensors(change, value) for value in state]
    return state


def _names_of_blocks(packed: State) -> set[str]:
    names = set[str]()
    _map_tensors(lambda x: names.update(x[BLOCKS_KEY] if isinstance(x, dict) else ()), packed)
    return names


def _split_blocks(tensor: Tensor) -> Iterator[memoryview]:
    """Yield the memory of a contiguous tensor in blocks."""
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    data = memoryview(array)
    return (data[i : i + BLOCK_SIZE] for i in range(0, len(data), BLOCK_SIZE))


@contextmanager
def report_full_disk(folder: Path, consequence: str = RESUMABLE) -> Iterator[None]:
    """Turn the error of a full disk into a RunError that names the consequence.

    The tracebacks of threads that fail on the full disk are not printed, because each such thread
    passes its error on to the thread that it writes for.
    """
    print_traceback = threading.excepthook
    threading.excepthook = lambda failure: (
        None if _is_disk_full(failure.exc_value) else print_traceback(failure)
    )
    try:
        yield
    except OSError as error:
        if not _is_disk_full(error):
            raise
        raise RunError(f"The disk of {folder} is full; {consequence}") from error
    finally:
        threading.excepthook = print_traceback


def _is_disk_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
