"""TensorBoard's event files of a run, exact when it continues."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .callbacks import Callback, Row

PATTERN = "events.out.tfevents.*"
FEW = 16
"""Records of one length whose checksums are computed one by one."""


class EventLog(Callback):
    """Writer of rows, episodes and evaluations as TensorBoard events.

    Every session has a file, which begins by telling readers to discard what an earlier one wrote
    past its last checkpoint. Nothing is buffered, so that a killed process loses no event of before
    that. ``hyperparameters`` is a table of texts, which the first session writes.
    """

    def __init__(self, folder: Path, hyperparameters: Mapping[str, Any]) -> None:
        self.folder, self.hyperparameters = folder, hyperparameters
        self.file: BinaryIO | None = None

    def on_start(self, step: int) -> None:
        """Begin a file whose name is later than all others, as readers go by names."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow to import

        stamps = [_stamp(path) for path in self.folder.glob(PATTERN)]
        stamp = max([int(time.time()), *(stamp + 1 for stamp in stamps)])
        name = PATTERN.replace("*", f"{stamp:010d}")
        self.file = open(self.folder / name, "xb", buffering=0)  # noqa: SIM115  # closed by close
        start = SessionLog(status=SessionLog.START)
        self._write(
            [
                Event(wall_time=time.time(), step=0, file_version="brain.Event:2"),
                Event(wall_time=time.time(), step=step + 1, session_log=start),
                *([] if stamps else [_text("hyperparameters", _table(self.hyperparameters), step)]),
            ]
        )

    def on_row(self, row: Row) -> None:
        """Write the row's metrics, without nan, and its histograms."""
        known = {name: x for name, x in row.metrics.items() if x == x}
        histograms = [
            _histogram(name, counts, row.step)
            for name, counts in row.histograms.items()
            if counts.any()
        ]
        self._write([*(_scalars({name: x}, row.step) for name, x in known.items()), *histograms])

    def write_scalars(self, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Write values by name at their agent steps."""
        self._write([_scalars(values, step) for step, values in rows])

    def close(self) -> None:
        if self.file:
            self.file.close()

    def _write(self, events: list[Any]) -> None:
        if events:
            assert self.file
            self.file.write(_records([event.SerializeToString() for event in events]))


def _stamp(path: Path) -> int:
    first = path.name.split(".")[3]
    return int(first) if first.isdigit() else 0


def _scalars(values: Mapping[str, float], step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=k, simple_value=x) for k, x in values.items()])
    return Event(wall_time=time.time(), step=step, summary=summary)


def _histogram(name: str, counts: NDArray[np.float64], step: int) -> Any:
    """Return the event of the counts of the values 0, 1, 2, ..."""
    from tensorboard.compat.proto.event_pb2 import Event
    from torch.utils.tensorboard import summary as summaries

    histogram_raw: Any = summaries.histogram_raw  # untyped
    values, nonzero = np.arange(len(counts)), np.flatnonzero(counts)
    summary = histogram_raw(
        name, nonzero[0], nonzero[-1], counts.sum(), counts @ values, counts @ values**2,
        (values + 0.5).tolist(), counts.tolist(),
    )  # fmt: skip
    return Event(wall_time=time.time(), step=step, summary=summary)


def _text(name: str, markdown: str, step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from torch.utils.tensorboard import summary as summaries

    text: Any = summaries.text  # untyped
    return Event(wall_time=time.time(), step=step, summary=text(name, markdown))


def _table(values: Mapping[str, Any]) -> str:
    """Return values by name as a table in Markdown."""
    rows = [f"|{name}|{str(value).replace('|', '&#124;')}|" for name, value in values.items()]
    return "\n".join(["|setting|value|", "|-|-|", *rows])


def _records(data: list[bytes]) -> bytes:
    """Return records of TensorFlow's format: length, its checksum, data, its checksum."""
    parts = []
    for record, checksum in zip(data, _checksums(data), strict=True):
        parts += [_header(len(record)), record, checksum.to_bytes(4, "little")]
    return b"".join(parts)


@cache
def _header(length: int) -> bytes:
    header = length.to_bytes(8, "little")
    return header + _checksums([header])[0].to_bytes(4, "little")


def _checksums(data: list[bytes]) -> list[int]:
    """Return the masked CRC-32C of each record.

    Those of many records of one length are computed together, because Python's speed, a fifth of a
    microsecond a byte, would be felt where an episode ends every millisecond.
    """
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import CRC_TABLE, masked_crc32c

    by_length, checksums = defaultdict[int, list[int]](list), [0] * len(data)
    for i, record in enumerate(data):
        by_length[len(record)].append(i)
    for indices in by_length.values():
        if len(indices) < FEW:
            for i in indices:
                checksums[i] = masked_crc32c(data[i])
            continue
        table = np.array(CRC_TABLE, np.uint32)
        columns = np.frombuffer(b"".join(data[i] for i in indices), np.uint8)
        crc = np.full(len(indices), 0xFFFFFFFF, np.uint32)
        for column in columns.reshape(len(indices), -1).T:
            crc = table[(crc ^ column) & 0xFF] ^ (crc >> 8)
        crc ^= 0xFFFFFFFF
        masked = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
        for i, checksum in zip(indices, masked.tolist(), strict=True):
            checksums[i] = checksum
    return checksums
