"""Checkpoints: the complete state of a run, from which it resumes bit for bit.

A checkpoint is one small file, named by its agent step. Large tensors are stored beside it in
content-addressed blocks, files named by the SHA-256 of their bytes: data that has not changed since
the last checkpoint (most of a replay buffer) is not written again, and damaged data is detected.
The newest two checkpoints are kept. Every file is written under a temporary name, synced and
renamed; nothing is unpickled.
"""

import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ...envs.errors import RunError, UsageError

FORMAT = "reverie-checkpoint-3"
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
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                packed = _pack(
                    state, lambda data: list(pool.map(self._write_block, _split_blocks(data)))
                )
            _sync_folder(self.blocks)
            with _atomic_write(self.path(step)) as file:
                file.write(bytes(DIGEST_SIZE))
                hashing: Any = _HashingFile(file)
                torch.save({"format": FORMAT, "state": packed}, hashing)
                file.seek(0)
                file.write(hashing.hash.digest())
            _sync_folder(self.folder)
            self._block_names[step] = set(_names_of_blocks(packed))
        # A later one could not be read, or this run would have continued from it.
        for later in [s for s in self.steps() if s > step]:
            self.path(later).unlink()
        self._remove_unused()

    def load(self, warn: Callable[[str], None] = lambda message: None) -> State | None:
        """Load the newest complete checkpoint to the CPU; None if there is no checkpoint.

        Damaged ones are reported to ``warn`` and skipped; nothing in the folder is changed. Raises
        UsageError if there are checkpoints and all are damaged.
        """
        steps, damages = self.steps(), []
        for step in reversed(steps):
            try:
                state = self._read(step)
            except (DamagedCheckpoint, OSError) as error:
                damages.append(f"The checkpoint {self.path(step)} is damaged ({error})")
                continue
            for damage in damages:
                warn(f"{damage}; continuing from the one of step {step:,}.")
            return state
        if not steps:
            return None
        raise UsageError(
            f"{'. '.join(damages)}. There is no other checkpoint, and nothing was changed; "
            "move the folder away to start again."
        )

    def _read(self, step: int) -> State:
        data = self.path(step).read_bytes()
        digest, body = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
        if hashlib.sha256(body).digest() != digest:
            raise DamagedCheckpoint("it is truncated, modified, or of another version")
        try:
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for data that it refuses to load
            raise DamagedCheckpoint("it holds objects that are not loaded for safety") from error
        if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
            raise DamagedCheckpoint(f"it is no {FORMAT} file")
        if not isinstance(loaded.get("state"), dict):
            raise DamagedCheckpoint("it holds no state")
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            state: State = _unpack(
                loaded["state"], lambda *blocks: list(pool.map(self._read_block, *blocks))
            )
        return state

    def _write_block(self, data: memoryview) -> str:
        """Write a block unless it is known to be on disk, and return its name."""
        name = hashlib.sha256(data).hexdigest()
        if name not in self._verified:
            with _atomic_write(self.blocks / name) as file:
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
        for path in self.folder.glob("*.tmp"):
            path.unlink()
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
            body = self.path(step).read_bytes()[DIGEST_SIZE:]
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
            return set(_names_of_blocks(loaded["state"]))
        except Exception:  # damaged: its blocks are of no use
            return set()


def _pack(state: Any, write: Callable[[memoryview], list[str]]) -> Any:
    """Return the state with large tensors replaced by block names, and small ones copied."""
    if isinstance(state, Tensor):
        if state.nbytes < BLOCK_SIZE:
            return state.detach().cpu().clone(memory_format=torch.contiguous_format)
        tensor = state.detach().cpu().contiguous()
        return {
            BLOCKS_KEY: write(_bytes_of(tensor)),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
        }
    if isinstance(state, dict):
        return {name: _pack(value, write) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_pack(value, write) for value in state]
    return state


def _unpack(packed: Any, read: Callable[..., Any]) -> Any:
    """Invert ``_pack``; ``read`` takes the names of blocks and the buffers to fill."""
    if isinstance(packed, dict) and BLOCKS_KEY in packed:
        tensor = torch.empty(packed["shape"], dtype=getattr(torch, packed["dtype"]))
        read(packed[BLOCKS_KEY], _split_blocks(_bytes_of(tensor)))
        return tensor
    if isinstance(packed, dict):
        return {name: _unpack(value, read) for name, value in packed.items()}
    if isinstance(packed, list):
        return [_unpack(value, read) for value in packed]
    return packed


def _names_of_blocks(packed: Any) -> Iterator[str]:
    if isinstance(packed, dict):
        if BLOCKS_KEY in packed:
            yield from packed[BLOCKS_KEY]
        for value in packed.values():
            yield from _names_of_blocks(value)
    elif isinstance(packed, list):
        for value in packed:
            yield from _names_of_blocks(value)


def _bytes_of(tensor: Tensor) -> memoryview:
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _split_blocks(data: memoryview) -> Iterator[memoryview]:
    return (data[i : i + BLOCK_SIZE] for i in range(0, len(data), BLOCK_SIZE))


class _HashingFile:
    """A file that computes the SHA-256 of the data written through it, without a copy."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self.hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


@contextmanager
def _atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only when it is complete and synced."""
    temporary = path.with_name(f"{path.name}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    except (OSError, RuntimeError) as error:
        if not _is_disk_full(error):
            raise
        raise RunError(f"The disk of {folder} is full; {consequence}") from error
    finally:
        threading.excepthook = print_traceback


def _is_disk_full(error: BaseException | None) -> bool:
    """Return whether a full disk caused the error; torch raises its own error on top."""
    while error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__context__
    return False
