"""A run folder: what was run, what is known about how, and what came of it.

``config.json``, ``provenance.json``, ``metrics.jsonl``, ``episodes.jsonl``, TensorBoard events,
``checkpoint.pt``, ``scores.json``, ``videos/`` and ``figures/``.
"""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.errors import UsageError
from experiments.config import Experiment, Job, decode, differences, encode

FORMAT = "reverie-checkpoint-1"
PACKAGES = ("torch", "gymnasium", "ale-py", "numpy")


class Run:
    """One run's folder on disk."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.checkpoint = self.folder / "checkpoint.pt"
        self.finished = False  # whether the last sitting reached the experiment's steps,
        self.interrupted = False  # or was ended by a signal before

    @classmethod
    def open(cls, folder: Path | str, job: Job) -> "Run":
        """Create the folder, or continue in it; only the number of steps may differ.

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
        run.write_json("config.json", encode(job))
        return run

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
            data = json.loads(path.read_text())
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

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint beside the last one, then put it in its place."""
        temporary = self.checkpoint.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT} | compact(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.checkpoint)

    def load(self) -> dict[str, Any] | None:
        """The checkpoint's state on the CPU, or None where there is none yet.

        Raises UsageError for a truncated or foreign file, which is left as it is.
        """
        if not self.checkpoint.exists():
            return None
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise UsageError(
                f"{self.checkpoint} is truncated or no checkpoint, and was left as it is; "
                "move it away to start anew."
            ) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise UsageError(
                f"{self.checkpoint} is no {FORMAT} file, and was left as it is; "
                "move it away to start anew."
            )
        return state

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the folder at once."""
        temporary = self.folder / f".{name}.tmp"
        temporary.write_text(json.dumps(data, indent=1) + "\n")
        temporary.replace(self.folder / name)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The rows of a .jsonl file."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def truncate_lines(self, name: str, step: int) -> None:
        """Drop rows later than ``step``: a killed run had written past its checkpoint."""
        rows = [row for row in self.read_lines(name) if row["step"] <= step]
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def provenance(device: torch.device, threads: int) -> dict[str, Any]:
    """Commit, versions and machine: what bit-for-bit equality depends on."""
    git = ["git", "-C", str(Path(__file__).parent)]
    return {
        "command": " ".join(["reverie", *sys.argv[1:]]),
        "commit": _output([*git, "rev-parse", "HEAD"]),
        "modified": bool(_output([*git, "status", "--porcelain", "--untracked-files=no"])),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": _cpu_name(),
        "threads": threads,
    }


def compact(state: Any) -> Any:
    """A state whose tensors own just their elements: torch would save a view's whole storage."""
    if isinstance(state, Tensor):
        return state.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(state, dict):
        return {name: compact(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [compact(value) for value in state]
    return state


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_name() -> str:
    cores = f"{os.cpu_count()} cores"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return f"{next(x for x in lines if x.startswith('model name')).split(': ')[1]}, {cores}"
    except (OSError, StopIteration):
        return f"{platform.machine()}, {cores}"
