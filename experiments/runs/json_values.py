"""JSON of files that may come from elsewhere, within limits."""

import json
import math
import re
import sys
import zlib
from typing import Any

MAX_BYTES = 1 << 24
"""Greatest length of a text."""
MAX_DEPTH = 32
"""Greatest number of lists and objects around a value."""
MAX_INTEGER = 1 << 64
"""Bound of the magnitude of integers."""
UNUSABLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""Characters that no text and no file name has: half of a pair, which cannot be encoded, and zero.

From U+DC80 to U+DCFF are the bytes of file names that are no UTF-8.
"""


def parse_json(text: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value of a JSON text, as UTF-8 if it is in bytes.

    Raises ValueError for anything else than JSON, for NaN and infinities, which are no JSON, for a
    name that an object has twice, and for what exceeds the limits.
    """
    if len(text) > max_bytes:
        raise ValueError(f"it has more than {max_bytes / 1e6:.4g} MB")
    try:
        value = _DECODER.decode(text if isinstance(text, str) else text.decode())
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}") from error
    _check(value, 0)
    return value


def parse_compressed(data: bytes, wbits: int = zlib.MAX_WBITS, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value of a JSON text that zlib has compressed, ``wbits`` as in ``zlib``.

    No more than ``max_bytes`` are decompressed. Raises ValueError as ``parse_json`` does, and for
    data that are damaged or cut off.
    """
    decompressor = zlib.decompressobj(wbits)
    try:
        text = decompressor.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(text) <= max_bytes and not decompressor.eof:
        raise ValueError("it is cut off")
    return parse_json(text, max_bytes)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has the number {name}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = {sys.intern(name): value for name, value in pairs}  # rows share their names
    if len(values) < len(pairs):
        raise ValueError("an object has the same name twice")
    return values


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)
"""Made once: to make one takes as long as to decode a short text."""


def _check(value: Any, depth: int) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it has a number that is too large")
    elif isinstance(value, int):
        if not -MAX_INTEGER < value < MAX_INTEGER:
            raise ValueError(f"it has an integer of {value.bit_length()} bits")
    elif isinstance(value, str):
        if not value.isascii() or "\0" in value:
            _check_text(value)
    elif depth >= MAX_DEPTH and isinstance(value, dict | list) and value:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check(name, depth)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _check_text(text: str) -> None:
    if found := UNUSABLE.search(text):
        raise ValueError(f"it has the character U+{ord(found[0]):04X}")
