"""Endurance: a run killed again and again ends as one left alone, and a long one does not grow.

Both drive ``reverie train`` in processes of its own, and are recipes of ``reverie reproduce``.
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

from envs.errors import RunError
from experiments.run import Run, provenance

ROOT = Path(__file__).parent.parent
KILLS = 30
MINUTES = 15.0
SETTLED = 5.0
"""Minutes after which memory is to be flat."""
EVERY = 5.0
"""Seconds between two looks at a process."""

STORMED = (
    "dqn-cts --game pong --protocol machado --env.protocol.frames-cap 400 --streams 2 "
    "--steps 6000 --agent.capacity 4000 --agent.learning-starts 300 --agent.batch 4"
)
"""A short run in which everything a checkpoint can hold is on the move."""

SOAKED = {
    "episodic": "episodic --game ms_pacman --agent.capacity 5000",
    "dqn-cts": "dqn-cts --game pong --agent.capacity 8000 --agent.learning-starts 1000",
    "actor-critic": "actor-critic --game pong",
}
"""Tables and replays that are full long before memory is judged."""


def start(words: str, folder: Path, *, checkpoint_minutes: float) -> subprocess.Popen[bytes]:
    """A training process of one thread on the CPU."""
    command = [sys.executable, "-m", "experiments.cli", "train", *words.split()]
    command += ["--device", "cpu", "--threads", "1", "--bare-seconds", "0", "--quiet"]
    command += ["--log-every", "500", "--folder", str(folder)]
    command += ["--checkpoint-minutes", str(checkpoint_minutes)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def storm(folder: Path, *, words: str = STORMED, kills: int = KILLS, seed: int = 0) -> Any:
    """Kill a run at moments that nobody chose, its writing of checkpoints included.

    Raises RunError where a continuation fails, or where the end is not that of the run left alone.
    """
    draw = random.Random(seed)
    straight, killed = Run(folder / "straight"), Run(folder / "killed")
    if start(words, straight.folder, checkpoint_minutes=60).wait():
        raise RunError("The run that was to be left alone failed.")
    steps: list[int] = []
    while len(steps) < kills:
        before = _newest(killed)
        process = start(words, killed.folder, checkpoint_minutes=0.002)
        while process.poll() is None and _newest(killed) == before:
            time.sleep(0.005)
        time.sleep(draw.random())
        if process.poll() is not None:
            if process.returncode:
                raise RunError(f"A continuation failed with status {process.returncode}.")
            break  # it came to its end
        process.send_signal(signal.SIGKILL)
        process.wait()
        steps.append(_newest(killed))
    if start(words, killed.folder, checkpoint_minutes=60).wait():
        raise RunError("The last continuation failed.")
    if not same_end(straight, killed):
        raise RunError(f"{killed.folder} does not end as {straight.folder} does.")
    return {"train": f"reverie train {words}", "kills": len(steps), "at_steps": steps}


def same_end(a: Run, b: Run) -> bool:
    """Whether two runs have the same final states, and wrote the same but for times."""
    states = [run.load() or {} for run in (a, b)]
    kept = [{k: v for k, v in state.items() if k != "generators"} for state in states]
    lines = [[_timeless(run, name) for name in ("metrics", "episodes")] for run in (a, b)]
    return lines[0] == lines[1] and _same(*kept)


def soak(folder: Path, *, words: str, minutes: float = MINUTES) -> dict[str, Any]:
    """Look at a run's process for so long: its resident memory, open files and speed."""
    process = start(words + " --steps 1000000000", folder, checkpoint_minutes=2)
    page, looks = resource.getpagesize(), []
    begin = time.monotonic()
    try:
        while (passed := time.monotonic() - begin) < 60 * minutes:
            time.sleep(EVERY)
            if process.poll() is not None:
                raise RunError(f"The run ended by itself, with status {process.returncode}.")
            held = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * page / 1e6
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
            looks.append((passed / 60, held, files, _steps(folder)))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    return judge(looks, min(SETTLED, minutes / 3)) | {"train": f"reverie train {words}"}


def judge(looks: list[tuple[float, float, int, int]], settled: float) -> dict[str, Any]:
    """What looks (minute, MB, files, agent steps) say from a minute on; memory by least squares."""
    minute, held, files, steps = np.array([look for look in looks if look[0] >= settled]).T
    half = len(minute) // 2
    rates = [
        (steps[part][-1] - steps[part][0]) / (minute[part][-1] - minute[part][0]) / 60
        for part in (slice(0, half), slice(half, None))
    ]
    return {
        "minutes": round(float(minute[-1]), 2),
        "from_minute": settled,
        "megabytes": [round(x, 1) for x in held.tolist()],
        "megabytes_per_minute": round(float(np.polyfit(minute, held, 1)[0]), 3),
        "open_files": [int(files.min()), int(files.max())],
        "steps_per_second": [round(rate, 1) for rate in rates],
        "slowdown": round(1 - rates[1] / rates[0], 4),
    }


def endure(name: str, folder: Path) -> dict[str, Any]:
    """The recipe of that name: what was measured, and of what."""
    result = storm(folder / name) if name == "kill-storm" else soaks(folder / name)
    return result | {"provenance": provenance(torch.device("cpu"), 1)}


def soaks(folder: Path) -> dict[str, Any]:
    """All of ``SOAKED``, one after another; those already measured are not measured again."""
    rows = {}
    for name, words in SOAKED.items():
        path = folder / f"{name}.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(soak(folder / name, words=words)))
        rows[name] = json.loads(path.read_text())
    return {"runs": rows}


ENDURANCE = ("kill-storm", "soak")


def _newest(run: Run) -> int:
    return max(run.checkpoints.steps(), default=0)


def _steps(folder: Path) -> int:
    rows = Run(folder).read_lines("metrics.jsonl")
    return int(rows[-1]["step"]) if rows else 0


def _timeless(run: Run, name: str) -> list[dict[str, Any]]:
    rows = run.read_lines(f"{name}.jsonl")
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
