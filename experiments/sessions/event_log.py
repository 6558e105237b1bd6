"""TensorBoard's event files of a run, exact when it continues."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .callbacks import Callback, Row

PATTERN = "events.out.tfevents.*"


class EventLog(Callback):
    """Writer of rows, episodes and evaluations as TensorBoard events.

    Every session has a file, which begins by telling readers to discard what an earlier one wrote
    past its last checkpoint. Nothing is buffered, so that a killed process loses no event of before
    that. ``hyperparameters`` is a table of texts, which the first session writes.
    """

    def __init__(self, folder: Path, hyperparameters: Mapping[str, Any]) -> None:
        self.folder, self.hyperparameters = folder, hyperparameters
        self.file: BinaryIO | None = None
        self.clock_error = 0.0
        """Seconds by which the clock was ahead when an earlier session wrote its last event."""
        self.followers: list[Callable[[int, Mapping[str, float]], None]] = []
        """Who gets the values of ``write_scalars`` too, which are in no row."""

    def on_start(self, step: int) -> None:
        """Begin a file that readers take for the newest, even if the clock has been set back.

        They go by names; their axes of time by the times of the events.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow to import

        earlier = [*self.folder.glob(PATTERN)]
        times = [max(_stamp(path), path.lstat().st_mtime) for path in earlier]
        self.clock_error = max([0.0, *(x - time.time() for x in times)])
        stamp = max([int(self._now()), *(_stamp(path) + 1 for path in earlier)])
        name = PATTERN.replace("*", f"{stamp:010d}")
        self.file = open(self.folder / name, "xb", buffering=0)  # noqa: SIM115  # closed by close
        start = SessionLog(status=SessionLog.START)
        self._write(
            [
                Event(file_version="brain.Event:2"),
                Event(step=step + 1, session_log=start),
                *(
                    []
                    if earlier
                    else [_text("hyperparameters", _table(self.hyperparameters), step)]
                ),
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
        rows = list(rows)
        self._write([_scalars(values, step) for step, values in rows])
        for follower in self.followers:
            for step, values in rows:
                follower(step, values)

    def close(self) -> None:
        if self.file:
            self.file.close()

    def _write(self, events: list[Any]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self.file
        records = BytesIO()
        writer = RecordWriter(records)
        for event in events:
            event.wall_time = self._now()
            writer.write(event.SerializeToString())
        rest = records.getbuffer()
        while rest:  # a write may take a part
            rest = rest[self.file.write(rest) :]

    def _now(self) -> float:
        return time.time() + self.clock_error


def _stamp(path: Path) -> int:
    """Return the seconds since the epoch in a file's name; 0 for a name of another form."""
    found = re.match(r"events\.out\.tfevents\.([0-9]{10})(\.|$)", path.name)
    return int(found[1]) if found else 0


def _scalars(values: Mapping[str, float], step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=k, simple_value=x) for k, x in values.items()])
    return Event(step=step, summary=summary)


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
    return Event(step=step, summary=summary)


def _text(name: str, markdown: str, step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from torch.utils.tensorboard import summary as summaries

    text: Any = summaries.text  # untyped
    return Event(step=step, summary=text(name, markdown))


def _table(values: Mapping[str, Any]) -> str:
    """Return values by name as a table in Markdown."""
    rows = [f"|{name}|{str(value).replace('|', '&#124;')}|" for name, value in values.items()]
    table = "\n".join(["|setting|value|", "|-|-|", *rows])
    # Bytes of names that the locale or UTF-8 does not have.
    return table.encode(errors="surrogateescape").decode(errors="replace")
