"""One session of the benchmark: its options, its timers, and its log of results."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ...envs.checks import at_least, check
from ...world_models.precision import PrecisionConfig, compile_failure
from ..reporting.committed import RESULTS
from ..runs.provenance import provenance

Row = dict[str, Any]
"""One measurement: ``name``, a number under the name of its unit, ``shown``, and details."""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured, and how."""

    only: str = ""
    """Measure only the groups whose name contains this."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads of torch and of the emulators; 0 for all cores."""
    compare_with: str = ""
    """Other libraries to run at the same settings, interleaved with ours: sb3,envpool."""
    rounds: int = 5
    """Rounds of every interleaved comparison; each contender is timed once per round."""
    steps: int = 50_000
    """Agent steps of the training of mfec, which slows down as its tables grow."""
    save: bool = False
    """Append the results to experiments/results/bench/, group by group; the same command resumes
    an interrupted session."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "rounds", "steps")


@dataclass(frozen=True)
class BenchSession:
    """What every group of measurements receives."""

    options: BenchOptions
    device: torch.device
    threads: int
    peers: tuple[str, ...]
    console: Console

    def precisions(self) -> list[PrecisionConfig]:
        """Return the precisions that this machine supports, the compiled one last."""
        failure = compile_failure(self.device)
        if failure:
            self.console.print(f"Compiled variants are skipped, as compilation fails: {failure}")
        compiled = [] if failure else [PrecisionConfig("bf16", compile=True)]
        return [PrecisionConfig(), PrecisionConfig("bf16"), *compiled]


class BenchLog:
    """The results of all sessions on a device, as a JSON file that is written after every group."""

    def __init__(self, session: BenchSession) -> None:
        about, on_cpu = provenance(session.device, session.threads), session.device.type == "cpu"
        name = "cpu" if on_cpu else about["device"].lower().replace(" ", "-")
        self.path = RESULTS / "bench" / f"{name}.json"
        self.history = json.loads(self.path.read_text()) if self.path.exists() else []
        last = self.history[-1] if self.history else {}
        if not ("unfinished" in last and last["provenance"] == about):
            machine = about["cpu"] if on_cpu else f"{about['device']}, {about['cpu']}"
            date = datetime.now(UTC).date().isoformat()
            last = {"date": date, "machine": machine, "provenance": about}
            self.history.append(last | {"unfinished": [], "rows": []})
        self.finished_groups: list[str] = self.history[-1]["unfinished"]

    def add(self, group: str, rows: list[Row]) -> None:
        """Add the rows of a finished group, and write the file."""
        self.finished_groups.append(group)
        self.history[-1]["rows"] += rows
        self._write()

    def finish(self) -> Path:
        """Mark the session as finished, and return the path of the file."""
        del self.history[-1]["unfinished"]
        self._write()
        return self.path

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.history, indent=1) + "\n")


UNITS = {
    "steps_per_second": "agent steps/s",
    "imagined_steps_per_second": "imagined steps/s",
    "frames_per_second": "frames/s",
    "updates_per_second": "updates/s",
    "megabytes": "MB",
}
"""Printed units by their name in a row; seconds are scaled."""


def row(name: str, unit: str, value: float, remark: str = "", **details: Any) -> Row:
    """Return a measurement with its printed form, the value and the remark in parentheses."""
    shown = _format_seconds(value) if unit == "seconds" else f"{_format(value)} {UNITS[unit]}"
    shown += f" ({remark})" if remark else ""
    return {"name": name, unit: value, **details, "shown": shown}


def median(function: Callable[[], object], device: torch.device, repeats: int = 15) -> float:
    """Return the median seconds of ``repeats`` calls, after one call for warm-up."""
    function()
    return sorted(seconds(function, device) for _ in range(repeats))[repeats // 2]


def seconds(function: Callable[[], object], device: torch.device | None = None) -> float:
    """Return the seconds of one call, including the work that it queued on a GPU."""
    begin = time.perf_counter()
    function()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _format_seconds(value: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def _format(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
