"""Endurance of training: a run killed repeatedly ends as one that was not; memory does not grow.

Both measurements run ``reverie train`` in subprocesses, and are recipes of ``reverie reproduce``.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...envs.errors import RunError
from ..runs.provenance import provenance
from ..runs.run import Run
from ..training.throughput import without_machine_metrics

ROOT = Path(__file__).parents[2]
KILLS = 30
SOAK_MINUTES = 15.0
SETTLE_MINUTES = 5.0
"""Minutes after which memory must not grow."""
SAMPLE_SECONDS = 5.0
"""Seconds between two samples of a process."""

KILL_STORM_ARGS = (
    "dqn-cts --game pong --protocol machado --env.protocol.frames-cap 400 --num-envs 2 "
    "--total-timesteps 6000 --agent.buffer-size 4000 --agent.learning-starts 300 "
    "--agent.batch-size 4"
)
"""A short run in which every part of a checkpoint changes."""

SOAK_ARGS = {
    "mfec": "mfec --game ms_pacman --agent.capacity 5000",
    "dqn-cts": "dqn-cts --game pong --agent.buffer-size 8000 --agent.learning-starts 1000",
    "ppo": "ppo --game pong",
}
"""Runs whose tables and replay buffers are full before ``SETTLE_MINUTES``."""

ENDURANCE = ("kill-storm", "soak")
"""The names that ``reverie reproduce`` takes."""


def measure_endurance(name: str, folder: Path) -> dict[str, Any]:
    """Return the measurement of one of ``ENDURANCE``, with its provenance."""
    result = kill_storm(folder / name) if name == "kill-storm" else soak_all(folder / name)
    return result | {"provenance": provenance(torch.device("cpu"), 1)}


def kill_storm(
    folder: Path, *, args: str = KILL_STORM_ARGS, kills: int = KILLS, seed: int = 0
) -> dict[str, Any]:
    """Kill a run at random moments, also while it writes checkpoints, and continue it.

    Returns the agent steps at which it was killed. Raises RunError if a continuation fails, or if
    the run does not end as the same run without kills.
    """
    rng = random.Random(seed)
    uninterrupted, killed = Run(folder / "straight"), Run(folder / "killed")
    if start_training(args, uninterrupted.folder, checkpoint_minutes=60).wait():
        raise RunError("The uninterrupted run failed.")
    steps: list[int] = []
    while len(steps) < kills:
        before = _newest_checkpoint(killed)
        process = start_training(args, killed.folder, checkpoint_minutes=0.002)
        while process.poll() is None and _newest_checkpoint(killed) == before:
            time.sleep(0.005)
        time.sleep(rng.random())
        if process.poll() is not None:
            if process.returncode:
                raise RunError(f"A continuation failed with status {process.returncode}.")
            break  # the run is finished
        process.send_signal(signal.SIGKILL)
        process.wait()
        steps.append(_newest_checkpoint(killed))
    if start_training(args, killed.folder, checkpoint_minutes=60).wait():
        raise RunError("The last continuation failed.")
    if not same_end(uninterrupted, killed):
        raise RunError(f"{killed.folder} does not end as {uninterrupted.folder} does.")
    return {"train": f"reverie train {args}", "kills": len(steps), "at_steps": steps}


def soak_all(folder: Path) -> dict[str, Any]:
    """Measure the runs of ``SOAK_ARGS`` one after another; finished measurements are kept."""
    rows = {}
    for name, args in SOAK_ARGS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(soak(folder / name, args=args)))
        rows[name] = json.loads(path.read_text())
    return {"runs": rows}


def soak(folder: Path, *, args: str, minutes: float = SOAK_MINUTES) -> dict[str, Any]:
    """Sample the resident memory, open files and speed of a training process for ``minutes``."""
    process = start_training(args + " --total-timesteps 1000000000", folder, checkpoint_minutes=2)
    page_size, samples = resource.getpagesize(), []
    begin = time.monotonic()
    try:
        while (elapsed := time.monotonic() - begin) < 60 * minutes:
            time.sleep(SAMPLE_SECONDS)
            if process.poll() is not None:
                raise RunError(f"The run ended early, with status {process.returncode}.")
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            megabytes = pages * page_size / 1e6
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
            samples.append((elapsed / 60, megabytes, files, _logged_steps(folder)))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    summary = summarize_samples(samples, min(SETTLE_MINUTES, minutes / 3))
    return summary | {"train": f"reverie train {args}"}


def summarize_samples(
    samples: list[tuple[float, float, int, int]], from_minute: float
) -> dict[str, Any]:
    """Summarize samples (minute, MB, files, agent steps) from a minute on.

    The growth of memory is fitted by least squares.
    """
    settled = [sample for sample in samples if sample[0] >= from_minute]
    minute, megabytes, files, steps = np.array(settled).T
    half = len(minute) // 2
    rates = [
        (steps[part][-1] - steps[part][0]) / (minute[part][-1] - minute[part][0]) / 60
        for part in (slice(0, half), slice(half, None))
    ]
    return {
        "minutes": round(float(minute[-1]), 2),
        "from_minute": from_minute,
        "megabytes": [round(x, 1) for x in megabytes.tolist()],
        "megabytes_per_minute": round(float(np.polyfit(minute, megabytes, 1)[0]), 3),
        "open_files": [int(files.min()), int(files.max())],
        "steps_per_second": [round(rate, 1) for rate in rates],
        "slowdown": round(1 - rates[1] / rates[0], 4),
    }


def start_training(
    args: str, folder: Path, *, checkpoint_minutes: float
) -> subprocess.Popen[bytes]:
    """Start a training process with one thread on the CPU."""
    command = [sys.executable, "-m", "reverie.experiments.cli.main", "train", *args.split()]
    command += ["--device", "cpu", "--threads", "1", "--random-play-seconds", "0", "--quiet"]
    command += ["--log-every", "500", "--folder", str(folder)]
    command += ["--checkpoint-minutes", str(checkpoint_minutes)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def same_end(a: Run, b: Run) -> bool:
    """Return whether two runs have equal final states and logs.

    States of random generators and metrics that depend on the machine are not compared.
    """
    states = [run.load() or {} for run in (a, b)]
    comparable = [{k: v for k, v in state.items() if k != "random_state"} for state in states]
    logs = [[_comparable_rows(run, name) for name in ("metrics", "episodes")] for run in (a, b)]
    return logs[0] == logs[1] and _equal(*comparable)


def _newest_checkpoint(run: Run) -> int:
    return max(run.checkpoints.steps(), default=0)


def _logged_steps(folder: Path) -> int:
    rows = Run(folder).read_lines("metrics.jsonl")
    return int(rows[-1]["step"]) if rows else 0


def _comparable_rows(run: Run, name: str) -> list[dict[str, Any]]:
    return [without_machine_metrics(row) for row in run.read_lines(f"{name}.jsonl")]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
