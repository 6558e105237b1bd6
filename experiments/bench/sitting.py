"""One sitting of the benchmark: what is asked for, how it is timed, and where it is kept."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from envs.checks import at_least, check
from experiments.reproduce import RESULTS
from experiments.run import provenance
from world_models.arithmetic import Arithmetic, why_not_compiled

Row = dict[str, Any]
"""``name``, a number under the name of its unit, ``shown``, and what else is worth keeping."""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured."""

    only: str = ""
    """Groups whose name contains this."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    threads: int = 0
    """CPU threads for torch and for the emulators; 0 takes all cores."""
    against: str = ""
    """Other libraries to run at the same settings, in turns with ours: sb3,envpool."""
    rounds: int = 5
    """Turns of every contender."""
    steps: int = 50_000
    """Agent steps of the row of episodic control, whose tables grow."""
    save: bool = False
    """Append the results to experiments/results/bench/, group by group; a sitting that was cut
    short goes on when the same command is given again."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "rounds", "steps")


@dataclass(frozen=True)
class Sitting:
    """What every measurement needs to know."""

    options: BenchOptions
    device: torch.device
    threads: int
    peers: tuple[str, ...]
    console: Console

    def ways(self) -> list[Arithmetic]:
        """What can be computed in here."""
        failure = why_not_compiled(self.device)
        if failure:
            self.console.print(f"Nothing is compiled, because nothing can be here: {failure}")
        compiled = [] if failure else [Arithmetic("bf16", compile=True)]
        return [Arithmetic(), Arithmetic("bf16"), *compiled]


class Notes:
    """One sitting among the results of a device, written after every group."""

    def __init__(self, sitting: Sitting) -> None:
        about, on_cpu = provenance(sitting.device, sitting.threads), sitting.device.type == "cpu"
        name = "cpu" if on_cpu else about["device"].lower().replace(" ", "-")
        self.path = RESULTS / "bench" / f"{name}.json"
        self.history = json.loads(self.path.read_text()) if self.path.exists() else []
        last = self.history[-1] if self.history else {}
        if not ("unfinished" in last and last["provenance"] == about):
            machine = about["cpu"] if on_cpu else f"{about['device']}, {about['cpu']}"
            day = datetime.now(UTC).date().isoformat()
            last = {"date": day, "machine": machine, "provenance": about}
            self.history.append(last | {"unfinished": [], "rows": []})
        self.groups: list[str] = self.history[-1]["unfinished"]

    def add(self, group: str, rows: list[Row]) -> None:
        self.groups.append(group)
        self.history[-1]["rows"] += rows
        self._write()

    def finish(self) -> Path:
        """The file, in which this sitting has now come to its end."""
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


def row(name: str, unit: str, value: float, said: str = "", **more: float) -> Row:
    """A measurement as it is kept and, with what is ``said`` of it, as it is shown."""
    shown = _duration(value) if unit == "seconds" else f"{_digits(value)} {UNITS[unit]}"
    return {"name": name, unit: value, **more, "shown": f"{shown} ({said})" if said else shown}


def median(function: Callable[[], object], device: torch.device, repeats: int = 15) -> float:
    """Seconds that a function takes, when it is warm."""
    function()
    return sorted(seconds(function, device) for _ in range(repeats))[repeats // 2]


def seconds(function: Callable[[], object], device: torch.device | None = None) -> float:
    """Seconds until a function, and what it asked of a GPU, is done."""
    begin = time.perf_counter()
    function()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _duration(s: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if s >= size:
            return f"{s / size:.3g} {unit}"
    return f"{s * 1e6:.3g} us"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
