"""Files that are complete or absent, and the version of their format.

A file is written under a temporary name in its own folder, synced and renamed, so that a process
that is killed or a full disk leaves the previous file as it was.
"""

import errno
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from ...envs.errors import UsageError
from .json_values import MAX_BYTES, parse_json

FORMAT = 6
"""Version of configs, checkpoints and recordings; one that differs is not read."""

WEIGHTS = "model.safetensors"
"""The file of an exported model, whose folder has a ``config.json`` too, and is no run."""
TEMPORARY = re.compile(r".+\.[0-9a-f]{32}\.tmp", re.DOTALL)
"""Names of files that are being written."""


def check_format(path: Path, found: Any, remedy: str) -> None:
    """Raise UsageError, which names the remedy, if a file has another format than ``FORMAT``."""
    if found != FORMAT:
        version = "an older format" if found is None else f"format {found}"
        raise UsageError(
            f"{path} has {version}, and this version of reverie reads format {FORMAT}; use the "
            f"commit that its provenance names, or {remedy}."
        )


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only when it is complete and synced.

    If it is ``durable``, its name is synced, too, before anything that follows is.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes | str) -> None:
    """Create or replace a file, and its folder if needed, atomically and durably; text in UTF-8."""
    make_folder(path.parent)
    with replacing(path) as file:
        # A name of a file that is no UTF-8 is written as it is.
        file.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


def write_json(path: Path, data: Any) -> None:
    """Create or replace a file of indented JSON atomically and durably."""
    write_file(path, to_json(data, indent=1) + "\n")


def to_json(data: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return data as JSON; NaN and infinities, which are no JSON, become null."""
    return json.dumps(_finite(data), indent=indent, sort_keys=sort_keys, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_figure(path: Path, figure: Any, dpi: int = 140) -> None:
    """Create or replace a PNG of a figure of matplotlib, atomically and through no link."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    write_file(path, data.getvalue())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises UsageError if the file cannot be read or holds something else."""
    try:
        data = parse_json(read_own(path, MAX_BYTES))
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no object.")
    return data


def read_own(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file that ``open_own`` opens.

    Raises OSError, of ``errno.EOVERFLOW``, if it has more than ``max_bytes``.
    """
    with open_own(path, "rb") as file:
        if os.fstat(file.fileno()).st_size <= max_bytes:
            content: bytes = file.read(max_bytes + 1)
            if len(content) <= max_bytes:
                return content
    raise OSError(errno.EOVERFLOW, f"more than {max_bytes:,} bytes", str(path))


def open_own(path: Path, mode: str) -> Any:
    """Open a file that this package has written, as UTF-8 unless it is binary.

    Raises OSError if the name is that of a link, a pipe, a device or a folder, which somebody else
    has put there: nothing outside the folder is read or written through it.
    """

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return descriptor

    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=opener)


def is_own(path: Path, names: re.Pattern[str]) -> bool:
    """Return whether a path is a regular file, no link, whose whole name matches a pattern."""
    try:
        return bool(names.fullmatch(path.name)) and stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:  # another process has removed it meanwhile
        return False


def own_files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the regular files of a folder whose whole names match a pattern, sorted.

    Links are left out, and so is everything if the folder is one.
    """
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_own(path, pattern))


def is_export(folder: Path) -> bool:
    """Return whether a folder is one of ``reverie export --hugging-face``."""
    return (folder / WEIGHTS).exists() and not (folder / "checkpoints").exists()


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, and make their names durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # of a folder above that may not be read
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names of new files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes had written under temporary names of ``replacing``."""
    for path in own_files(folder, TEMPORARY):
        path.unlink(missing_ok=True)
