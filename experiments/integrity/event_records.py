"""Records of TensorBoard's event files: a length, its CRC, the data and their CRC.

Format: tensorflow/core/lib/io/record_writer.h.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from ..runs.files import open_own

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
MAX_SKIPPED = 1 << 20
"""Bytes in which the next record is searched."""
Piece = tuple[int, int, bool]
"""First byte, end, and whether it is a whole record."""


def read_pieces(data: bytes, start: int = 0) -> Iterator[Piece]:
    """Yield the records of a file from ``start``, and what lies between them if it is damaged.

    After a damaged length the next record is where a length has its CRC.
    """
    while start < len(data):
        end = _end_of_record(data, start)
        if end is not None:
            begin = start + HEADER.size
            (crc,) = FOOTER.unpack_from(data, end - FOOTER.size)
            yield start, end, _crc(data[begin : end - FOOTER.size]) == crc
        else:
            near = range(start + 1, min(start + MAX_SKIPPED, len(data)))
            end = next((i for i in near if _end_of_record(data, i) is not None), len(data))
            yield start, end, False
        start = end


def read_events(path: Path) -> bytes:
    """Return the bytes of an event file; raises OSError, also for a link."""
    with open_own(path, "rb") as file:
        data: bytes = file.read()
    return data


def _end_of_record(data: bytes, start: int) -> int | None:
    """Return the end of the record that begins at a byte; None if none begins or it is cut."""
    if start + HEADER.size + FOOTER.size > len(data):
        return None
    size, crc = HEADER.unpack_from(data, start)
    end = start + HEADER.size + size + FOOTER.size
    return int(end) if end <= len(data) and _crc(data[start : start + 8]) == crc else None


def _crc(data: bytes) -> int:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return int(masked_crc32c(data))
