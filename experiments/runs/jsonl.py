"""Files of one JSON object per line, which grow until a run ends.

A checkpoint holds the length and the digest of each, which is synced before it. So a file that
lost its end or a page to a power failure is told from one that a killed process wrote too much of.
"""

import errno
import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .files import open_own, read_own
from .json_values import parse_json

Mark = dict[str, Any]
"""``size`` in bytes and SHA-256 ``digest`` of the beginning of a file."""
CHUNK = 1 << 20
MAX_FILE_BYTES = 1 << 31
"""Greatest size of a file that is read."""
MAX_LINE_BYTES = 1 << 20
MAX_STEP = 1 << 53
MAX_NUMBER = 1e100
"""Bound of the magnitude of scores and other required numbers: their squares are finite."""


def read_content(path: Path) -> bytes:
    """Return the bytes of a file; none if there is no file."""
    return read_own(path, MAX_FILE_BYTES) if os.path.lexists(path) else b""


def split_lines(path: Path) -> list[bytes]:
    """Return the lines of a file without empty ones."""
    return [line for line in read_content(path).split(b"\n") if line]


def iterate_rows(path: Path, required: tuple[str, ...]) -> Iterator[dict[str, Any] | None]:
    """Yield the row of each line that ``split_lines`` returns, one in memory at a time.

    A line that ``parse_row`` cannot read gives None. Raises OSError, of ``errno.EFBIG``, for a file
    of more than ``MAX_FILE_BYTES``.
    """
    if not os.path.lexists(path):
        return
    with open_own(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"more than {MAX_FILE_BYTES:,} bytes", str(path))
        while line := file.readline(MAX_LINE_BYTES + 1):
            whole = line
            while not line.endswith(b"\n") and (line := file.readline(MAX_LINE_BYTES)):
                pass  # the rest of a line that is too long
            if stripped := whole.removesuffix(b"\n"):
                yield parse_row(stripped, required)


def last_row(path: Path, required: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the row of the last line that can be read; None without any."""
    if not os.path.lexists(path):
        return None
    with open_own(path, "rb") as file:
        start = max(0, os.fstat(file.fileno()).st_size - MAX_LINE_BYTES)
        file.seek(start)
        lines = file.read(MAX_LINE_BYTES).split(b"\n")
    for line in reversed(lines[1:] if start else lines):
        if line and (row := parse_row(line, required)):
            return row
    found = None
    for row in iterate_rows(path, required) if start else ():
        found = row or found
    return found


def join_lines(lines: Iterable[bytes]) -> bytes:
    """Return lines as the content of a file."""
    return b"".join(line + b"\n" for line in lines)


def parse_row(line: bytes, required: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the object of a line; None unless its step and the required fields are numbers.

    A step is a whole number from 0 to ``MAX_STEP``.
    """
    try:
        row = parse_json(line) if len(line) <= MAX_LINE_BYTES else None
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    step, numbers = row.get("step"), [row.get(name) for name in required]
    if not is_number(step) or not isinstance(step, int) or not 0 <= step <= MAX_STEP:
        return None
    return row if all(map(is_number, numbers)) else None


def is_number(value: Any) -> bool:
    """Return whether a value is a number, no truth value, within ``MAX_NUMBER``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and abs(value) <= MAX_NUMBER


def is_mark(mark: Any) -> bool:
    """Return whether a value of a checkpoint is a mark."""
    return (
        isinstance(mark, dict)
        and isinstance(mark.get("size"), int)
        and isinstance(mark.get("digest"), str)
    )


def mark_of(text: str) -> Mark:
    """Return the mark of a whole text."""
    data = text.encode(errors="surrogateescape")
    return {"size": len(data), "digest": hashlib.sha256(data).hexdigest()}


class Marker:
    """Computes the marks of a file that grows, from what was appended since the last one."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.digest = path, 0, hashlib.sha256()

    def mark(self) -> Mark:
        """Sync the file, and return its size and digest."""
        if not os.path.lexists(self.path):
            return {"size": 0, "digest": hashlib.sha256().hexdigest()}
        with open_own(self.path, "rb") as file:
            os.fsync(file.fileno())
            file.seek(self.size)
            while data := file.read(CHUNK):
                self.digest.update(data)
                self.size += len(data)
        return {"size": self.size, "digest": self.digest.hexdigest()}


def is_intact(path: Path, mark: Mark) -> bool:
    """Return whether a file still begins with what was marked."""
    digest, left = hashlib.sha256(), int(mark["size"])
    if not os.path.lexists(path):
        return left == 0
    with open_own(path, "rb") as file:
        while left > 0 and (data := file.read(min(CHUNK, left))):
            digest.update(data)
            left -= len(data)
    return left == 0 and digest.hexdigest() == mark["digest"]
