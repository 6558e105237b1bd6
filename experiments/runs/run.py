"""A run folder on disk.

It holds ``config.json``, ``provenance.json``, ``metrics.jsonl``, ``episodes.jsonl``, TensorBoard
events, ``checkpoints/``, ``scores.json``, ``videos/`` and ``figures/``. The file ``lock`` names the
process that is training in it. The config is stored as encoded JSON; ``config.experiment`` decodes
it.
"""

import fcntl
import io
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from ...envs.errors import FolderBusy, UsageError
from .checkpoints import Checkpoints

REQUIRED_FIELDS = {"metrics.jsonl": ("frames",), "episodes.jsonl": ("score",)}
"""Numeric fields of every row of a file, beside its step."""
EXACT_FIELDS = ("torch", "ale-py", "device", "threads", "precision", "compile")
"""Provenance fields that must not change if a run is to continue bit for bit."""
LENGTH_FIELDS = ("total_timesteps", "num_updates")
"""Config fields in which two configs of one run folder may differ."""


class Run:
    """One run folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.finished = False
        """Whether the last session reached the configured length."""
        self.interrupted = False
        """Whether a signal ended the last session."""

    @classmethod
    def open(cls, folder: Path | str, config: dict[str, Any]) -> "Run":
        """Create the folder, or check that it is writable and holds a run of this encoded config.

        The length of training may differ. Nothing is recorded until ``begin``.

        Raises UsageError if the folder holds another experiment or cannot be written.
        """
        run = cls(folder)
        try:
            for part in ("videos", "figures"):
                (run.folder / part).mkdir(parents=True, exist_ok=True)
            probe = run.folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"The run folder {folder} cannot be written ({error.strerror}); "
                "choose another with --folder."
            ) from error
        if (run.folder / "config.json").exists():
            differing = [
                line
                for line in config_differences(run.config(), config)
                if not line.startswith(tuple(f"{name}:" for name in LENGTH_FIELDS))
            ]
            if differing:
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
        previous = self._sessions(step)
        sessions = [*previous, {"from_step": step} | provenance]
        modified = {"modified": any(session.get("modified") for session in sessions)}
        self.write_json("config.json", config)
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
        path = self.folder / "provenance.json"
        try:
            sessions = json.loads(path.read_text())["sessions"]
            return [session for session in sessions if session["from_step"] < step]
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return []

    def config(self) -> dict[str, Any]:
        """Return the encoded config of the run.

        Raises UsageError if the folder holds none or it cannot be read.
        """
        path = self.folder / "config.json"
        try:
            data = json.loads(path.read_text(), parse_constant=_refuse_constant)
        except FileNotFoundError:
            raise UsageError(f"{self.folder} is no run folder: it has no config.json.") from None
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} cannot be read as a config: {error}.") from error
        if not isinstance(data, dict):
            raise UsageError(f"{path} is not a config.")
        return data

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder's lock; raises FolderBusy if another process holds it."""
        return locked(self.folder, "training")

    def load(self) -> dict[str, Any] | None:
        """Load the newest complete checkpoint; damaged ones are reported on stderr and skipped."""
        return self.checkpoints.load(warn=lambda message: print(message, file=sys.stderr))

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the folder atomically."""
        self._replace(name, f"{json.dumps(data, indent=1)}\n".encode())

    def write_tensors(self, name: str, data: dict[str, Any]) -> None:
        """Replace a file of tensors atomically."""
        body = io.BytesIO()
        torch.save(data, body)
        self._replace(name, body.getvalue())

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a .jsonl file without truncated or incomplete lines."""
        return [row for row in self._rows(name) if row]

    def lost_lines(self, name: str) -> int:
        """Return the number of unreadable lines of a .jsonl file."""
        return sum(row is None for row in self._rows(name))

    def _rows(self, name: str) -> list[dict[str, Any] | None]:
        path = self.folder / name
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [_parse_row(line, REQUIRED_FIELDS[name]) for line in lines]

    def truncate_lines(self, name: str, step: int) -> None:
        """Remove rows later than ``step``: a killed process wrote past its last checkpoint."""
        path = self.folder / name
        text = path.read_text(errors="replace") if path.exists() else ""
        lines = [
            line
            for line in text.splitlines()
            if (row := _parse_row(line, REQUIRED_FIELDS[name])) and row["step"] <= step
        ]
        kept = "".join(f"{line}\n" for line in lines)
        if kept != text:
            self._replace(name, kept.encode())

    def _replace(self, name: str, data: bytes) -> None:
        temporary = self.folder / f".{name}.tmp"
        temporary.write_bytes(data)
        temporary.replace(self.folder / name)


@contextmanager
def locked(folder: Path, activity: str) -> Iterator[None]:
    """Hold an exclusive lock on a folder; the lock of a dead process is released by the system.

    Raises FolderBusy, which names the other process, if the lock is held.
    """
    with open(folder / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FolderBusy(
                f"Process {file.read().strip() or 'unknown'} is {activity} in {folder}; "
                "wait for it, stop it, or choose another folder with --folder."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


@contextmanager
def building(part: str) -> Iterator[None]:
    """Turn an error of building a part, such as a lack of memory, into a UsageError."""
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError) as error:
        raise UsageError(
            f"The {part} cannot be built with these settings: {_first_line(error)}."
        ) from error


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn an error of loading a checkpoint of another config or version into a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,  # a number out of a tensor's range
        RuntimeError,
    ) as error:
        raise UsageError(
            f"The checkpoint in {folder} does not fit its config in this version "
            f"({type(error).__name__}: {_first_line(error)}); it was left as it is."
        ) from error


def config_differences(a: Any, b: Any) -> list[str]:
    """Return the differences of two encoded configs as lines "path: a, not b"."""
    flat_a, flat_b = _flatten(a), _flatten(b)
    return [
        f"{path}: {flat_a.get(path, 'absent')}, not {flat_b.get(path, 'absent')}"
        for path in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(path) != flat_b.get(path)
    ]


def _flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix.rstrip("."): data}
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= _flatten(value, f"{prefix}{name}.")
    return flat


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _parse_row(line: str, required: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return row if all(isinstance(row.get(name), int | float) for name in required) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has the number {name}")
