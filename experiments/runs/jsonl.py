"""Files of one JSON object per line, which grow until a run ends.

A checkpoint holds the length and the digest of each, which is synced before it. So a file that
lost its end or a page to a power failure is told from one that a killed process wrote too much of.
"""

import hashlib
import math
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from .files import open_own
from .json_values import parse_json

Mark = dict[str, Any]
"""``size`` in bytes and SHA-256 ``digest`` of the beginning of a file."""
Columns = Float[NDArray[np.float64], "fields rows"]
CHUNK = 1 << 20
MAX_FILE_BYTES = 1 << 29
"""Greatest size of a file of which all rows are held in memory."""
MAX_LINE_BYTES = 1 << 20
MAX_STEP = 1 << 53
MAX_NUMBER = 1e100
"""Bound of the magnitude of scores and other required numbers: their squares are finite."""


def iterate_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file without empty ones, and long ones in parts, which are no rows.

    None if there is no file. No more than a part is in memory.
    """
    if os.path.lexists(path):
        with open_own(path, "rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                if line := line.removesuffix(b"\n"):
                    yield line


def last_row(path: Path, required: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the row of the last line that can be read; None without any.

    The end of the file is read first, and the rest only if no line there can be read.
    """
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
    for line in iterate_lines(path) if start else ():
        found = parse_row(line, required) or found
    return found


def read_columns(
    path: Path, required: tuple[str, ...], fields: tuple[str, ...]
) -> tuple[Columns, int]:
    """Return required fields of all rows as columns, and the number of unreadable lines."""
    values, num_lost = array("d"), 0
    for line in iterate_lines(path):
        row = parse_row(line, required)
        if row is None:
            num_lost += 1
        else:
            values.extend(row[field] for field in fields)
    return np.array(values).reshape(-1, len(fields)).T, num_lost


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
