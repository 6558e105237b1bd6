"""One session of the benchmark: its options, its timers, and the storage of its results."""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from ...envs.checks import at_least, check
from ...world_models.precision import FLOAT32, Precision, compile_failure, native_bfloat16
from ..reporting.committed import RESULTS
from ..runs.files import to_json
from ..runs.outputs import write_or_keep
from ..runs.provenance import provenance

T = TypeVar("T")
Row = dict[str, Any]
"""One measurement: ``name``, a number under the name of its unit, ``shown``, and details."""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured, and how."""

    only: str = ""
    """Measure only the groups, or the rows of a sweep, whose name contains this."""
    sweep: bool = False
    """Measure, instead of the groups, the rows for a GPU one by one, most valuable first: its
    tests, agents by number of envs, precision and compilation, models, and a training. With --save,
    rows that the file holds for this version of the code are left out."""
    minutes: float = 0.0
    """Start nothing that is expected to end after this many minutes; 0 for no limit."""
    dry_run: bool = False
    """List what would be measured, and the expected seconds, and measure nothing."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads of torch and of the emulators; 0 for all cores."""
    compare_with: str = ""
    """Other libraries to run at the same settings, interleaved with ours: sb3,envpool, and
    cleanrl=FOLDER with the folder of a checkout of CleanRL."""
    rounds: int = 5
    """Rounds of every interleaved comparison; each contender is timed once per round."""
    save: bool = False
    """Append the results to experiments/results/bench/, group by group."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "rounds")
        check(self, "", at_least(0), "minutes")


@dataclass(frozen=True)
class BenchSession:
    """What every group of measurements receives."""

    options: BenchOptions
    device: torch.device
    threads: int
    peers: Mapping[str, str]
    """The other libraries, each with the folder given for it."""
    deadline: float = math.inf
    """When the session's time is over, by ``time.monotonic``, which all processes share."""

    def num_envs(self, *, cpu: int) -> int:
        """Return the number of envs of a comparison: 256 on a GPU."""
        return 256 if self.device.type == "cuda" else cpu

    def precisions(self) -> list[Precision]:
        """Return the precisions that this machine is fast in, the compiled one last.

        bfloat16 is left out on a CPU that does not multiply in it.
        """
        eager = [FLOAT32]
        if self.device.type != "cpu" or native_bfloat16():
            eager.append(Precision("bf16"))
        failure = compile_failure(self.device)
        if failure:
            print(f"Compiled variants are skipped, as compilation fails: {failure}")
            return eager
        return [*eager, replace(eager[-1], compile=True)]


def results_file(device: torch.device) -> Path:
    """Return the file of the committed results of a device."""
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return RESULTS / "bench" / f"{name.lower().replace(' ', '-')}.json"


def saved_sessions(device: torch.device) -> list[dict[str, Any]]:
    """Return the committed sessions of a device, oldest first."""
    path = results_file(device)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def save(session: BenchSession, rows: list[Row]) -> None:
    """Append measurements to the committed results of this session's device.

    They join the newest session if its date, machine, code and command are equal.
    """
    about, on_cpu = provenance(session.device, session.threads), session.device.type == "cpu"
    machine = about["cpu"] if on_cpu else f"{about['device']}, {about['cpu']}"
    date = datetime.now(UTC).date().isoformat()
    path, history = results_file(session.device), saved_sessions(session.device)
    entry: dict[str, Any] = {"date": date, "machine": machine, "provenance": about, "rows": []}
    if not history or history[-1] | {"rows": []} != entry:
        history.append(entry)
    history[-1]["rows"] += rows
    write_or_keep(path, to_json(history, indent=1) + "\n")
    print(f"appended to {path}", flush=True)


UNITS = {
    "steps_per_second": "agent steps/s",
    "imagined_steps_per_second": "imagined steps/s",
    "frames_per_second": "frames/s",
    "updates_per_second": "updates/s",
    "megabytes": "MB",
    "score": "points",
}
"""Printed units by their name in a row."""
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
"""Printed units of seconds."""


def row(name: str, unit: str, value: float, remark: str = "", **details: Any) -> Row:
    """Return a measurement with its printed form, the value and the remark in parentheses."""
    if unit == "seconds":
        scale, symbol = next(x for x in SCALES if value >= x[0] or x is SCALES[-1])
        shown = f"{value / scale:.3g} {symbol}"
    else:
        shown = f"{value:,.{0 if value >= 100 else 1}f} {UNITS[unit]}"
    shown += f" ({remark})" if remark else ""
    return {"name": name, unit: value, **details, "shown": shown}


def median(
    function: Callable[[], object], device: torch.device | None = None, repeats: int = 15
) -> float:
    """Return the median seconds of ``repeats`` calls, after one call for warm-up."""
    function()
    return statistics.median(seconds(function, device) for _ in range(repeats))


def gpu_seconds(function: Callable[[], T]) -> tuple[T, float]:
    """Return a call's result, and for how many seconds a GPU computes or copies during it.

    By torch's profiler; 0 where it records nothing.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        result = function()
        torch.cuda.synchronize()
    return result, covered(
        (event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in profile.events()
        if event.device_type.name != "CPU" and not event.is_user_annotation
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of spans (begin, end), which may overlap."""
    total, end = 0.0, -math.inf
    for span_begin, span_end in sorted(spans):
        total += max(0.0, span_end - max(end, span_begin))
        end = max(end, span_end)
    return total


def seconds(function: Callable[[], object], device: torch.device | None = None) -> float:
    """Return the seconds of one call, including the work that it queued on a GPU."""
    begin = time.perf_counter()
    function()
    if device and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin
