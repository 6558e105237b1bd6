"""A run folder: what was run, what is known about how, and what came of it.

``config.json``, ``provenance.json``, ``metrics.jsonl``, ``episodes.jsonl``, TensorBoard events,
``checkpoints/``, ``scores.json``, ``videos/`` and ``figures/``; ``lock`` names the process at work.
"""

import fcntl
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from envs.errors import FolderBusy, UsageError
from experiments.checkpoints import Checkpoints
from experiments.config import Experiment, Job, decode, differences, encode

NUMBERS = {"metrics.jsonl": ("frames",), "episodes.jsonl": ("score",)}
"""What every row of a file has beside its agent step."""
EXACT = ("torch", "ale-py", "device", "threads", "precision", "compile")
"""What a run must keep so that it continues as if it had never stopped."""
PACKAGES = ("torch", "gymnasium", "ale-py", "numpy")


class Run:
    """One run's folder on disk."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.finished = False  # whether the last sitting reached the experiment's steps,
        self.interrupted = False  # or was ended by a signal before

    @classmethod
    def open(cls, folder: Path | str, job: Job) -> "Run":
        """Make sure of the folder: it can be written, and holds no other experiment.

        Only the number of steps may differ. What is run is written when it begins (``begin``).

        Raises UsageError where it holds another experiment or cannot be written.
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
            differ = [
                line
                for line in differences(encode(run.job()), encode(job))
                if not line.startswith("steps:")
            ]
            if differ:
                raise UsageError(
                    f"The folder {folder} holds another experiment ({'; '.join(differ)}); "
                    "choose another with --folder."
                )
        return run

    def begin(self, job: Job, step: int, about: dict[str, Any]) -> str:
        """Write what is run from ``step`` on, and how; only for who holds the lock.

        Returns a sentence where it differs from what ran before in what exactness depends on.
        """
        before = self._sittings(step)
        sittings = [*before, {"from_step": step} | about]
        modified = {"modified": any(sitting.get("modified") for sitting in sittings)}
        self.write_json("config.json", encode(job))
        self.write_json("provenance.json", about | modified | {"sittings": sittings})
        last = before[-1] if before else {}
        differ = [
            f"{name} was {last[name]} and is {about[name]}"
            for name in EXACT
            if name in last and last[name] != about[name]
        ]
        return f"Continuing is not exact: {', '.join(differ)}." if differ else ""

    def _sittings(self, step: int) -> list[dict[str, Any]]:
        """Those that what is known at ``step`` came of."""
        path = self.folder / "provenance.json"
        try:
            sittings = json.loads(path.read_text())["sittings"]
            return [sitting for sitting in sittings if sitting["from_step"] < step]
        except (FileNotFoundError, ValueError, LookupError, TypeError):  # there are none, or lost
            return []

    def experiment(self) -> Experiment:
        """The experiment of this folder; raises UsageError where it holds none."""
        job = self.job()
        if not isinstance(job, Experiment):
            raise UsageError(
                f"{self.folder} holds the pretraining of a model, not an agent's run; "
                "name a run of `reverie train`."
            )
        return job

    def job(self) -> Job:
        """What this folder's run is; raises UsageError where it holds none."""
        path = self.folder / "config.json"
        try:
            data = json.loads(path.read_text(), parse_constant=_refuse_constant)
        except FileNotFoundError:
            raise UsageError(f"{self.folder} is no run folder: it has no config.json.") from None
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} cannot be read as a config: {error}.") from error
        if not isinstance(data, dict):
            raise UsageError(f"{path} is not a config.")
        try:
            return decode(Job, data)
        except (TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{path} is not a config of this version: {error}.") from error

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else trains in this folder meanwhile; raises FolderBusy where somebody does."""
        return locked(self.folder, "training")

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint; one that is damaged is named on stderr and passed over."""
        return self.checkpoints.load(warn=lambda said: print(said, file=sys.stderr))

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the folder at once."""
        self._replace(name, f"{json.dumps(data, indent=1)}\n".encode())

    def write_tensors(self, name: str, data: dict[str, Any]) -> None:
        """Replace a file of tensors at once."""
        body = io.BytesIO()
        torch.save(data, body)
        self._replace(name, body.getvalue())

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The rows of a .jsonl file; a line that was cut short, or lacks its numbers, is none."""
        return [row for row in self._rows(name) if row]

    def lost_lines(self, name: str) -> int:
        """How many lines of a .jsonl file are no rows."""
        return sum(row is None for row in self._rows(name))

    def _rows(self, name: str) -> list[dict[str, Any] | None]:
        path = self.folder / name
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [_row(line, NUMBERS[name]) for line in lines]

    def truncate_lines(self, name: str, step: int) -> None:
        """Drop rows later than ``step``: a killed run had written past its checkpoint."""
        path = self.folder / name
        text = path.read_text(errors="replace") if path.exists() else ""
        lines = [
            line
            for line in text.splitlines()
            if (row := _row(line, NUMBERS[name])) and row["step"] <= step
        ]
        kept = "".join(f"{line}\n" for line in lines)
        if kept != text:
            self._replace(name, kept.encode())

    def _replace(self, name: str, data: bytes) -> None:
        temporary = self.folder / f".{name}.tmp"
        temporary.write_bytes(data)
        temporary.replace(self.folder / name)


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Nobody else works in this folder meanwhile; a dead process leaves no lock behind.

    Raises FolderBusy, which names the process, where one is at work.
    """
    with open(folder / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FolderBusy(
                f"Process {file.read().strip() or 'unknown'} is {doing} in {folder}; "
                "wait for it, stop it, or choose another folder with --folder."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


@contextmanager
def building(what: str) -> Iterator[None]:
    """Raise UsageError where a config asks for what cannot be built, as for too much memory."""
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError) as error:
        raise UsageError(
            f"The {what} cannot be built as its config says: {_line(error)}."
        ) from error


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Raise UsageError where a whole checkpoint is none of this config or version."""
    try:
        yield
    except UsageError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,  # a number beyond a tensor's
        RuntimeError,
    ) as error:
        raise UsageError(
            f"The checkpoint in {folder} does not fit its config in this version "
            f"({type(error).__name__}: {_line(error)}); it was left as it is."
        ) from error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _row(line: str, numbers: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return row if all(isinstance(row.get(name), int | float) for name in numbers) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has the number {name}")


NOT_RESULTS = ("--", ":/", ":/!experiments/results")  # code alone: what a run writes is not it


def provenance(device: torch.device, threads: int) -> dict[str, Any]:
    """Commit, versions and machine: what bit-for-bit equality depends on."""
    return {
        "command": " ".join(["reverie", *sys.argv[1:]]),
        **code(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_name(),
        "threads": threads,
    }


def code() -> dict[str, Any]:
    """The commit that is run, and whether its files were modified."""
    git = ["git", "-C", str(Path(__file__).parent)]
    return {
        "commit": _output([*git, "rev-parse", "HEAD"]),
        "modified": bool(_output([*git, "status", "--porcelain", "-uno", *NOT_RESULTS])),
    }


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    cores = f"{os.cpu_count()} cores"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return f"{next(x for x in lines if x.startswith('model name')).split(': ')[1]}, {cores}"
    except (OSError, StopIteration):
        return f"{platform.machine()}, {cores}"
