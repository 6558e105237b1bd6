"""A run folder on disk.

It holds ``config.json``, ``provenance.json``, ``metrics.jsonl``, ``episodes.jsonl``,
``evaluations.jsonl``, TensorBoard events, ``checkpoints/``, ``scores.json``, ``videos/`` and
``figures/``. The file ``lock`` names the process that is training in it. The config is stored as
encoded JSON; ``config.experiment`` decodes it.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...envs.atari.games import did_you_mean
from ...envs.errors import Interrupted, UsageError
from .checkpoints import Checkpoints
from .config_differences import config_differences
from .files import (
    FORMAT,
    check_format,
    is_export,
    make_folder,
    open_own,
    own_files,
    read_json,
    remove_partial_files,
    replacing,
    sync_folder,
    to_json,
    write_json,
)
from .jsonl import (
    MAX_FILE_BYTES,
    Columns,
    Mark,
    Marker,
    is_intact,
    iterate_lines,
    last_row,
    mark_of,
    parse_row,
    read_columns,
)

REQUIRED_FIELDS = {
    "metrics.jsonl": ("frames",),
    "episodes.jsonl": ("score",),
    "evaluations.jsonl": ("mean",),
}
"""Numeric fields of every row of a file, beside its step."""
EVENT_NAME = re.compile(r"events\.out\.tfevents\..+")
"""Names of TensorBoard's files."""
PARTS = ("checkpoints", "checkpoints/blocks", "figures", "videos")
"""Folders in a run folder."""
UNREADABLE = ".unreadable"
"""Suffix of the file that keeps the unreadable lines of another one."""
INEXACT = ("fresh-episodes", "without-replay")
"""How a session of a run may continue it, other than bit for bit."""
EXACT_FIELDS = tuple("torch ale-py device threads precision compile ranks pipeline".split())
"""Provenance fields that must not change if a run is to continue bit for bit."""
CHANGEABLE_FIELDS = ("total_timesteps", "num_updates", "minutes", "imports")
"""Config fields in which two configs of one run folder may differ."""


class Run:
    """One run folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self._markers: dict[str, Marker] = {}
        self.finished = False
        """Whether the last session reached the configured length."""
        self.signal = 0
        """Number of the signal that ended the last session; SIGPIPE if its output was closed."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the last session."""
        return self.signal != 0

    def raise_interrupted(self) -> None:
        """Raise Interrupted if a signal ended the last session."""
        if self.interrupted:
            raise Interrupted(self.signal)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        config: dict[str, Any],
        complete: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> "Run":
        """Return the run of a folder that is new or holds a run of this encoded config.

        The length of training may differ. ``complete`` adds the settings that a stored config
        lacks. Nothing is recorded until ``begin``.

        Raises UsageError if the folder holds another experiment.
        """
        run = cls(folder)
        if (run.folder / "config.json").exists():
            fixed = (
                {k: x for k, x in each.items() if k not in CHANGEABLE_FIELDS}
                for each in (complete(run.config()), config)
            )
            if differing := config_differences(*fixed):
                raise UsageError(
                    f"The folder {folder} holds another experiment ({'; '.join(differing)}); "
                    "choose another with --folder."
                )
        return run

    def begin(self, config: dict[str, Any], step: int, provenance: dict[str, Any]) -> str:
        """Record the config and the provenance of a session that starts at ``step``.

        Only the holder of the lock may call it. Returns a sentence if a field that exact
        continuation depends on differs from the last session's, else "".
        """
        remove_partial_files(self.folder)
        for part in ("videos", "figures"):
            make_folder(self.folder / part)
        previous = self._sessions(step)
        sessions = [*previous, {"from_step": step} | provenance]
        known = [session.get("modified") for session in sessions]
        modified = {"modified": True if True in known else None if None in known else False}
        self.write_json("config.json", {"format": FORMAT} | config)
        self.write_json("provenance.json", provenance | modified | {"sessions": sessions})
        last = previous[-1] if previous else {}
        differing = [
            f"{name} was {last[name]} and is {provenance[name]}"
            for name in EXACT_FIELDS
            if name in last and last[name] != provenance[name]
        ]
        return f"Continuing is not exact: {', '.join(differing)}." if differing else ""

    def _sessions(self, step: int) -> list[dict[str, Any]]:
        """The sessions that led to the state at ``step``."""
        try:
            sessions = read_json(self.folder / "provenance.json")["sessions"]
            return [session for session in sessions if session["from_step"] < step]
        except (UsageError, LookupError, TypeError):
            return []

    def inexact_resumes(self, step: int) -> tuple[str, ...]:
        """Return how and where the run was continued before ``step``, if it was not exactly."""
        sessions = [x for x in self._sessions(step) if x.get("resume") in INEXACT]
        return tuple(f"{x['resume']} at step {x['from_step']:,}" for x in sessions)

    def config(self) -> dict[str, Any]:
        """Return the encoded config of the run.

        Raises UsageError if the folder holds none, or it cannot be read or has another format.
        """
        path = self.folder / "config.json"
        if not path.exists():
            near = [x.parent for x in self.folder.parent.glob("*/config.json")]
            hint = did_you_mean(str(self.folder), map(str, near))
            kind = "a file, and no" if self.folder.is_file() else "no"
            raise UsageError(f"{self.folder} is {kind} run folder: it has no config.json.{hint}")
        data = read_json(path)
        check_format(path, data.pop("format", None), "train again in another folder")
        return data

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the folder atomically."""
        write_json(self.folder / name, data)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a .jsonl file without truncated or incomplete lines.

        Raises UsageError for a file of more than ``MAX_FILE_BYTES``.
        """
        path = self.folder / name
        if path.exists() and path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{path} has more than {MAX_FILE_BYTES:,} bytes, too many to hold its rows in "
                "memory; move it elsewhere, and the run is shown without its curve."
            )
        return [row for _, row in self._lines(name) if row]

    def last_line(self, name: str) -> dict[str, Any]:
        """Return the last row of a .jsonl file of any size; empty if there is none."""
        return last_row(self.folder / name, REQUIRED_FIELDS[name]) or {}

    def read_columns(self, name: str, *fields: str) -> tuple[Columns, int]:
        """Return required fields of a .jsonl file of any size, and the number of lost lines."""
        return read_columns(self.folder / name, REQUIRED_FIELDS[name], fields)

    def _lines(self, name: str) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """Yield the lines of a .jsonl file with their rows; None for one that cannot be read."""
        lines = iterate_lines(self.folder / name)
        return ((line, parse_row(line, REQUIRED_FIELDS[name])) for line in lines)

    def append_lines(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows to a .jsonl file."""
        with open_own(self.folder / name, "a") as file:
            file.writelines(f"{to_json(row)}\n" for row in rows)

    def mark_files(self, step: int) -> dict[str, Mark]:
        """Sync the logs, and return the marks of the run's files for a checkpoint of ``step``."""
        events = (path.name for path in own_files(self.folder, EVENT_NAME))
        for name in (*REQUIRED_FIELDS, *events):
            self._markers.setdefault(name, Marker(self.folder / name))
        marks = {name: marker.mark() for name, marker in self._markers.items()}
        sync_folder(self.folder)
        return marks | self.mark_descriptions(step)

    def mark_descriptions(self, step: int) -> dict[str, Mark]:
        """Return the marks of the settings, and of the sessions before ``step``, if readable."""
        marks = {}
        with suppress(UsageError):
            config = read_json(self.folder / "config.json")
            fixed = {name: x for name, x in config.items() if name not in CHANGEABLE_FIELDS}
            marks["config.json"] = mark_of(to_json(fixed, sort_keys=True))
        sessions = to_json(self._sessions(step), sort_keys=True)
        return marks | {"provenance.json": mark_of(sessions)}

    def damaged_lines(self, marks: dict[str, Mark]) -> list[str]:
        """Return the names of the .jsonl files that no longer begin with what was marked."""
        return [
            name
            for name in REQUIRED_FIELDS
            if name in marks and not is_intact(self.folder / name, marks[name])
        ]

    def truncate_lines(self, name: str, step: int) -> None:
        """Remove rows later than ``step``: a killed process wrote past its last checkpoint.

        Lines that cannot be read are moved to a file beside it, with a sentence on stderr.
        """
        if text := self.keep_readable(name, step):
            print(text, file=sys.stderr)

    def keep_readable(self, name: str, step: int) -> str:
        """Truncate as ``truncate_lines`` does; return the sentence, which is empty if none is."""
        path, aside = self.folder / name, self.folder / f"{name}{UNREADABLE}"
        self._markers.pop(name, None)
        total = unreadable = size = 0
        for line, row in self._lines(name):
            total, unreadable = total + 1, unreadable + (row is None)
            size += len(line) + 1 if row and row["step"] <= step else 0
        if size == (path.stat().st_size if path.exists() else 0):
            return ""
        if unreadable:
            with replacing(aside) as new:
                new.writelines(line + b"\n" for line in iterate_lines(aside))
                new.writelines(line + b"\n" for line, row in self._lines(name) if row is None)
        with replacing(path) as new:
            lines = self._lines(name)
            new.writelines(line + b"\n" for line, row in lines if row and row["step"] <= step)
        if not unreadable:
            return ""
        return (
            f"{unreadable:,} of the {total:,} lines of {path} cannot be read; they are kept in "
            f"{aside.name}."
        )


def refuse_links(folder: Path, names: Iterable[str] = PARTS) -> None:
    """Raise UsageError if one of these folders is a link: what is outside is not touched."""
    for name in names:
        if (folder / name).is_symlink():
            raise UsageError(
                f"{folder / name} is a link, and a run reads and writes only in its own folder; "
                "replace it by the folder that it leads to."
            )


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders in or below a folder; raises UsageError if there is none."""
    runs = sorted(x.parent for x in folder.rglob("config.json") if not is_export(x.parent))
    if not runs:
        raise UsageError(f"{folder} holds no run: no config.json is in it or below it.")
    return runs
