"""Checkpoints: all that a run needs to go on as if it had never stopped.

A checkpoint is one small file, named by its agent step. Large tensors stand beside it in blocks
named by the SHA-256 of their bytes, so that what has not changed since the last checkpoint (most
of a replay) is neither written again nor kept twice, and what a disk has lost is noticed. The
newest two are kept. A file is written under another name, synced and renamed; nothing is unpickled.
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

from envs.errors import RunError, UsageError

FORMAT = "reverie-checkpoint-2"
KEPT = 2
BLOCK = 4 << 20
"""Bytes of a block; smaller tensors are kept in the checkpoint's own file."""
BLOCKS = "reverie.blocks"  # the key that marks a dictionary as a large tensor

State = dict[str, Any]


class Damaged(Exception):
    """A file of a checkpoint is not what was written."""


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.blocks = folder, folder / "blocks"
        self._used: dict[int, set[str]] = {}  # the blocks of checkpoints written here
        self._trusted: set[str] = set()  # blocks written, or read and verified, by this process

    def steps(self) -> list[int]:
        """Agent steps of which there is a checkpoint, in order."""
        return sorted(int(path.stem) for path in self.folder.glob("*.pt") if path.stem.isdigit())

    def path(self, step: int) -> Path:
        return self.folder / f"{step:012d}.pt"

    def save(self, step: int, state: State) -> None:
        """Write a checkpoint; whatever happens meanwhile, those before it stay whole.

        Raises RunError where the disk is full.
        """
        with said_where_full(self.folder):
            self.blocks.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                packed = _pack(state, lambda data: list(pool.map(self._put, _pieces(data))))
            _sync_folder(self.blocks)
            with _written(self.path(step)) as file:
                file.write(bytes(32))
                hashed: Any = _Hashed(file)
                torch.save({"format": FORMAT, "state": packed}, hashed)
                file.seek(0)
                file.write(hashed.hash.digest())
            _sync_folder(self.folder)
            self._used[step] = set(_names(packed))
        # A later one could not be read, or this run would have continued from it.
        for late in [s for s in self.steps() if s > step]:
            self.path(late).unlink()
        self._forget()

    def load(self, warn: Callable[[str], None] = lambda sentence: None) -> State | None:
        """The newest whole checkpoint on the CPU, or None where there is none yet.

        One that is damaged is named to ``warn`` and passed over. Raises UsageError where none is
        whole; nothing in the folder is changed.
        """
        steps, damages = self.steps(), []
        for step in reversed(steps):
            try:
                state = self._read(step)
            except (Damaged, OSError) as error:
                damages.append(f"The checkpoint {self.path(step)} is damaged ({error})")
                continue
            for damage in damages:
                warn(f"{damage}; continuing from the one of step {step:,}.")
            return state
        if not steps:
            return None
        raise UsageError(
            f"{'. '.join(damages)}. No other is left, and nothing was changed; "
            "move the folder away to start anew."
        )

    def _read(self, step: int) -> State:
        data = self.path(step).read_bytes()
        digest, body = data[:32], data[32:]
        if hashlib.sha256(body).digest() != digest:
            raise Damaged("it was cut short, changed, or is of another version")
        try:
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for what it will not load
            raise Damaged("it holds what is never loaded") from error
        if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
            raise Damaged(f"it is no {FORMAT} file")
        if not isinstance(loaded.get("state"), dict):
            raise Damaged("it holds no state")
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            state: State = _unpack(
                loaded["state"], lambda *pieces: list(pool.map(self._get, *pieces))
            )
        return state

    def _put(self, piece: memoryview) -> str:
        name = hashlib.sha256(piece).hexdigest()
        if name not in self._trusted:
            with _written(self.blocks / name) as file:
                file.write(piece)
            self._trusted.add(name)
        return name

    def _get(self, name: str, into: memoryview) -> None:
        self._trusted.discard(name)
        with open(self.blocks / name, "rb") as file:
            whole = file.readinto(into) == len(into) and not file.read(1)
        if not whole or hashlib.sha256(into).hexdigest() != name:
            raise Damaged(f"its block {name[:12]} is not what was written")
        self._trusted.add(name)

    def _forget(self) -> None:
        """Remove all but the newest checkpoints, the blocks that only those had, and what a kill
        left half written."""
        for path in self.folder.glob("*.tmp"):
            path.unlink()
        for step in self.steps()[:-KEPT]:
            self.path(step).unlink()
        self._used = {step: self._used.get(step) or self._read_names(step) for step in self.steps()}
        used = set().union(*self._used.values())
        self._trusted &= used
        for path in self.blocks.iterdir():
            if path.name not in used:
                path.unlink()

    def _read_names(self, step: int) -> set[str]:
        """The blocks of a checkpoint written by another process."""
        try:
            body = self.path(step).read_bytes()[32:]
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
            return set(_names(loaded["state"]))
        except Exception:  # damaged: what it refers to can no longer be read anyway
            return set()


def _pack(state: Any, put: Callable[[memoryview], list[str]]) -> Any:
    """The state with large tensors given to ``put``; small ones own just their elements."""
    if isinstance(state, Tensor):
        if state.nbytes < BLOCK:
            return state.detach().cpu().clone(memory_format=torch.contiguous_format)
        whole = state.detach().cpu().contiguous()
        return {
            BLOCKS: put(_bytes(whole)),
            "dtype": str(whole.dtype).removeprefix("torch."),
            "shape": list(whole.shape),
        }
    if isinstance(state, dict):
        return {name: _pack(value, put) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_pack(value, put) for value in state]
    return state


def _unpack(packed: Any, get: Callable[..., Any]) -> Any:
    if isinstance(packed, dict) and BLOCKS in packed:
        tensor = torch.empty(packed["shape"], dtype=getattr(torch, packed["dtype"]))
        get(packed[BLOCKS], _pieces(_bytes(tensor)))
        return tensor
    if isinstance(packed, dict):
        return {name: _unpack(value, get) for name, value in packed.items()}
    if isinstance(packed, list):
        return [_unpack(value, get) for value in packed]
    return packed


def _names(packed: Any) -> Iterator[str]:
    if isinstance(packed, dict):
        if BLOCKS in packed:
            yield from packed[BLOCKS]
        for value in packed.values():
            yield from _names(value)
    elif isinstance(packed, list):
        for value in packed:
            yield from _names(value)


def _bytes(tensor: Tensor) -> memoryview:
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _pieces(data: memoryview) -> Iterator[memoryview]:
    return (data[i : i + BLOCK] for i in range(0, len(data), BLOCK))


class _Hashed:
    """A file that knows the SHA-256 of what was written through it; no copy of it is made."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self.hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that stands under its name once it is whole."""
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
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


CONTINUES = "the last checkpoint is whole. Make room, and the same command continues from it."


@contextmanager
def said_where_full(folder: Path, kept: str = CONTINUES) -> Iterator[None]:
    """Raise RunError, which says what is kept, where what is done meanwhile fills the disk.

    A thread that writes for another hands its error on, and prints none of it.
    """
    print_trace = threading.excepthook
    threading.excepthook = lambda failed: None if _full(failed.exc_value) else print_trace(failed)
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not _full(error):
            raise
        raise RunError(f"The disk of {folder} is full; {kept}") from error
    finally:
        threading.excepthook = print_trace


def _full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error; torch raises another one over the disk's own."""
    while error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__context__
    return False
