"""Endurance: what is judged of a long run, and what kills at any moment leave of one."""

import ctypes
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.endurance import KILLS, ROOT, SOAKED, judge, same_end, storm
from experiments.presets import PRESETS
from experiments.reproduce import RESULTS
from experiments.run import Run


def test_memory_files_and_speed_are_judged_once_a_run_has_settled() -> None:
    """1 MB a second while it settles, then 0.5 MB a minute; half as fast in the second half."""
    looks = []
    steps = 0.0
    for second in range(0, 600, 5):
        minute = second / 60
        held = 100 + second if minute < 5 else 400 + 0.5 * (minute - 5)
        steps += 5 * (100 if minute < 7.5 else 50)
        looks.append((minute, held, 12 if second != 400 else 13, round(steps)))
    found = judge(looks, 5.0)
    assert found["megabytes_per_minute"] == pytest.approx(0.5)
    assert found["open_files"] == [12, 13]
    assert found["steps_per_second"] == pytest.approx([100, 50], rel=0.02)
    assert found["slowdown"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc only")
def test_freed_memory_is_kept() -> None:
    """128 MB in tensors of 16 MB stay with the process; by default they would go back at once."""
    code = (
        "import torch\n"
        "from pathlib import Path\n"
        "from experiments.machine import keep_freed_memory\n"
        "def held(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 1e6\n"
        "{call}\n"
        "before = held()\n"
        "tensors = [torch.ones(4_000_000) for _ in range(8)]\n"
        "del tensors\n"
        "print(held() - before)\n"
    )
    kept = [
        float(subprocess.run([sys.executable, "-c", code.format(call=call)], **CAPTURED).stdout)
        for call in ("keep_freed_memory()", "")
    ]
    assert kept[0] > 120
    assert kept[1] < 60


CAPTURED: Any = {"capture_output": True, "text": True, "check": True, "cwd": ROOT}


def test_ends_differ_where_a_number_does(tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in "abc"]
    for run, score in zip(runs, (1.0, 1.0, 2.0), strict=True):
        run.folder.mkdir()
        row = {"step": 1, "frames": 4, "score": score, "time/seconds": random.random()}
        (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert same_end(runs[0], runs[1])
    assert not same_end(runs[0], runs[2])


SMALL = {
    "episodic": "--agent.capacity 300",
    "episodic-": "--agent.capacity 300 --agent.fit-after 300 --agent.fit-steps 40 "
    "--agent.fit-batch 4",
    "dqn": "--agent.capacity 4000 --agent.learning-starts 300 --agent.batch 4",
    "actor-critic": "--agent.horizon 32",
    "straw": "--agent.horizon 32 --agent.planner.length 20",
    "variational-mdp": "--agent.horizon 32 --agent.planner.length 20",
    "action-repeat": "--agent.horizon 32",
    "dreamer": "--agent.model-starts 300 --agent.model-ratio 0.02 --agent.dreams 4 "
    "--agent.horizon 4 --agent.inner.capacity 4000",
    "shooting": "--agent.model-starts 300 --agent.model-ratio 0.02 --agent.samples 4 "
    "--agent.horizon 3 --agent.iterations 1",
    "dqn-informed": "--agent.model-starts 300 --agent.model-ratio 0.02 --agent.inner.batch 4 "
    "--agent.inner.capacity 4000 --agent.inner.learning-starts 300",
}
"""Settings by the longest beginning of a preset's name, for runs of a minute."""


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=() if name in ("episodic", "dqn-cts") else pytest.mark.evidence)
        for name in PRESETS
    ],
)
def test_a_preset_killed_on_sticky_pong_ends_as_if_left_alone(preset: str, tmp_path: Path) -> None:
    small = SMALL[max((name for name in SMALL if preset.startswith(name)), key=len)]
    words = f"{preset} --game pong --streams 2 --env.protocol.sticky 0.25 --steps 1280 {small}"
    words += " --env.protocol.frames-cap 400"
    assert storm(tmp_path, words=words, kills=1)["kills"] == 1


@pytest.mark.evidence
def test_a_storm_of_kills_changes_nothing(tmp_path: Path) -> None:
    assert storm(tmp_path, kills=5)["kills"] == 5


@pytest.mark.evidence
def test_the_committed_endurance_is_what_was_asked_for() -> None:
    """By `reverie reproduce kill-storm soak`."""
    found = {path.stem: json.loads(path.read_text()) for path in (RESULTS / "endurance").iterdir()}
    assert found["kill-storm"]["kills"] == KILLS
    assert found["soak"]["runs"].keys() == SOAKED.keys()
    for run in found["soak"]["runs"].values():
        assert run["megabytes_per_minute"] < 1
        assert run["open_files"][0] == run["open_files"][1]
        assert run["slowdown"] < 0.05
