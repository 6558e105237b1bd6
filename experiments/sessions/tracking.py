"""Tracking of a run in another tool, which gets what TensorBoard gets."""

import re
from collections.abc import Callable, Mapping
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..runs.files import own_files, read_json
from ..runs.run import Run
from .callbacks import Callback, Row
from .event_log import EventLog
from .trackers import RunDescription, Tracker, TrackerName, Values, connect, import_tool

FILE = "tracking.json"
"""What has been tracked of a run: by tool, its id there, and the last step of every metric."""
MEDIA = {"videos": re.compile(r".+\.mp4"), "figures": re.compile(r".+\.png")}
"""Files that are tracked at the end of a session, by folder; links are not followed."""


class Tracking(Callback):
    """The run of a tool that gets the rows, episodes and evaluations of this run, once each.

    A continued run has the same id there. What a killed process had tracked past its last
    checkpoint is not tracked again. After an error of the tool training goes on without it.
    Raises UsageError if the tool is not installed.
    """

    def __init__(
        self,
        tool: TrackerName,
        run: Run,
        events: EventLog,
        about: RunDescription,
        tell: Callable[[str], None],
    ) -> None:
        import_tool(tool)
        self.tool, self.run, self.about, self.tell = tool, run, about, tell
        self.tracker: Tracker | None = None
        self.tracked: dict[str, Any] = {}
        """The tool's entry of the file."""
        self.known_steps: dict[str, int] = {}
        """Steps up to which earlier sessions have tracked each metric."""
        self.points: list[tuple[int, Values]] = []
        """What has not been tracked yet."""
        events.followers.append(self.add)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take values by name at a step, to be tracked with the next row."""
        self.points.append((step, values))

    def on_start(self, step: int) -> None:
        """Continue the tool's run that the file names, or begin one."""
        tracked = self._read_file().get(self.tool)
        if not isinstance(tracked, dict) or tracked.keys() != {"id", "steps", "files"}:
            tracked = {"id": None, "steps": {}, "files": {}}
        try:
            self.tracker = connect(self.tool, self.about, tracked["id"])
            if self.tracker.id != tracked["id"]:
                tracked = {"id": self.tracker.id, "steps": {}, "files": {}}
            self.tracked, self.known_steps = tracked, dict(tracked["steps"])
            self._write_file()
            self.tell(f"Tracked by {self.tool} {self.tracker.place}.")
        except Exception as error:
            self._give_up(error)

    def on_row(self, row: Row) -> None:
        known: dict[str, float | NDArray[np.float64]] = {
            name: x for name, x in row.metrics.items() if x == x
        }
        known |= {name: x for name, x in row.histograms.items() if x.any()}
        self.points.append((row.step, known))
        self._flush()

    def on_checkpoint(self) -> None:
        self._flush()

    def on_end(self, step: int) -> None:
        self._flush()
        try:
            folder = self.run.folder
            media = (x for part, names in MEDIA.items() for x in own_files(folder / part, names))
            for path in sorted(media):
                name, changed = path.relative_to(folder).as_posix(), path.stat().st_mtime
                if self.tracker and self.tracked["files"].get(name) != changed:
                    self.tracker.log_file(path, name, step)
                    self.tracked["files"][name] = changed
            self._write_file()
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        try:
            if self.tracker:
                self.tracker.close(finished=self.run.finished)
        except Exception as error:
            self._give_up(error)

    def _flush(self) -> None:
        """Track the points that no earlier session has tracked, and note that they are."""
        points, self.points = self.points, []
        if self.tracker is None:
            return
        rows = [(step, self._new_values(step, values)) for step, values in points]
        try:
            self.tracker.log([(step, values) for step, values in rows if values])
            for step, values in rows:
                self.tracked["steps"] |= dict.fromkeys(values, step)
            self._write_file()
        except Exception as error:
            self._give_up(error)

    def _new_values(self, step: int, values: Values) -> Values:
        return {name: x for name, x in values.items() if step > self.known_steps.get(name, -1)}

    def _give_up(self, error: Exception) -> None:
        """Go on without the tool, and tell the user so."""
        self.tracker = None
        first_line = (str(error).strip().splitlines() or [""])[0]
        reason = shorten(first_line, 150, placeholder=" ...").rstrip(".")
        self.tell(
            f"Warning: {self.tool} gets nothing more of this session, as it failed with "
            f"{type(error).__name__} ({reason}); the run goes on, and its folder has everything."
        )

    def _read_file(self) -> dict[str, Any]:
        try:
            return read_json(self.run.folder / FILE)
        except UsageError:  # there is none
            return {}

    def _write_file(self) -> None:
        if self.tracker:
            self.run.write_json(FILE, self._read_file() | {self.tool: self.tracked})
