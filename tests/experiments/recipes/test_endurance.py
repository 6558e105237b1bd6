"""Endurance: the summary of a long run, and runs that are killed and continued."""

import ctypes
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reverie import Experiment
from reverie.agents.episodic.mfec import MFECConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import RunError
from reverie.envs.gym import GymConfig
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.recipes.endurance import (
    KillStorm,
    Soak,
    same_end,
    summarize_metrics,
)
from reverie.experiments.recipes.recipes import KILLED, SOAKED
from reverie.experiments.reporting.committed import RESULTS
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.command_line import parse_experiment


def test_memory_files_and_speed_are_summarized_from_a_minute_on() -> None:
    """1 MB per second for 5 minutes, then 0.5 MB per minute; half the speed in the second half."""
    rows = []
    steps = 0.0
    for second in range(0, 600, 5):
        minute = second / 60
        megabytes = 100 + second if minute < 5 else 400 + 0.5 * (minute - 5)
        steps += 5 * (100 if minute < 7.5 else 50)
        numbers = {"seconds": second, "resident_mb": megabytes, "open_files": 12 + (second == 400)}
        metrics = {f"system/{name}": number for name, number in numbers.items()}
        rows.append({"step": round(steps), **metrics})
    summary = summarize_metrics(rows, 5.0)
    assert summary["megabytes_per_minute"] == pytest.approx(0.5)
    assert summary["open_files"] == [12, 13]
    assert summary["steps_per_second"] == pytest.approx([100, 50], rel=0.02)
    assert summary["slowdown"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc only")
def test_freed_memory_is_kept() -> None:
    """128 MB in tensors of 16 MB are kept; by default they are returned to the system."""
    code = (
        "import torch\n"
        "from pathlib import Path\n"
        "from reverie.experiments.runs.runtime import keep_freed_memory\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 1e6\n"
        "{call}\n"
        "before = resident()\n"
        "tensors = [torch.ones(4_000_000) for _ in range(8)]\n"
        "del tensors\n"
        "print(resident() - before)\n"
    )
    kept = [
        float(subprocess.run([sys.executable, "-c", code.format(call=call)], **CAPTURED).stdout)
        for call in ("keep_freed_memory()", "")
    ]
    assert kept[0] > 120
    assert kept[1] < 60


CAPTURED: Any = {"capture_output": True, "text": True, "check": True}


def test_ends_differ_if_a_number_differs(tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in "abc"]
    for run, score in zip(runs, (1.0, 1.0, 2.0), strict=True):
        run.folder.mkdir()
        row = {"step": 1, "frames": 4, "score": score, "system/seconds": random.random()}
        (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert same_end(runs[0], runs[1])
    assert not same_end(runs[0], runs[2])


SMALL = {
    "mfec": "--agent.capacity 300",
    "nec": "--agent.capacity 300 --agent.buffer-size 1000 --agent.learning-starts 300 "
    "--agent.batch-size 4",
    "nait": "--agent.capacity 300",
    "mfec-": "--agent.capacity 300 --agent.fit-after 300 --agent.fit-updates 40 "
    "--agent.fit-batch-size 4",
    "dqn": "--agent.buffer-size 4000 --agent.learning-starts 300 --agent.batch-size 4",
    "drq": "--agent.buffer-size 4000 --agent.learning-starts 300 --agent.batch-size 4 "
    "--agent.replay-ratio 0.25",
    "ppo": "--agent.num-steps 32",
    "pqn": "--agent.num-steps 16 --agent.num-minibatches 2",
    "a2c": "",
    "go-explore": "--agent.capacity 100",
    "straw": "--agent.num-steps 32 --agent.planner.length 20",
    "variational-mdp": "--agent.num-steps 32 --agent.planner.length 20",
    "figar": "--agent.num-steps 32",
    "dyna": "--agent.model-learning-starts 300 --agent.model-replay-ratio 0.02 "
    "--agent.imagination-envs 4 --agent.horizon 4 --agent.inner.buffer-size 4000",
    "dyna-rssm": "--agent.model-learning-starts 300 --agent.model-replay-ratio 0.02 "
    "--agent.imagination-envs 4 --agent.horizon 4 --agent.inner.num-steps 5",
    "mpc": "--agent.model-learning-starts 300 --agent.model-replay-ratio 0.02 --agent.samples 4 "
    "--agent.horizon 3 --agent.iterations 1",
    "dqn-informed": "--agent.model-learning-starts 300 --agent.model-replay-ratio 0.02 "
    "--agent.inner.batch-size 4 --agent.inner.buffer-size 4000 --agent.inner.learning-starts 300",
}
"""Settings for runs of a minute, by the longest matching prefix of the preset's name."""


def small_args(preset: str) -> str:
    return SMALL[max((prefix for prefix in SMALL if preset.startswith(prefix)), key=len)]


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=() if name in ("mfec", "dqn-cts") else pytest.mark.results)
        for name in PRESETS
    ],
)
def test_a_killed_preset_on_sticky_pong_ends_as_an_uninterrupted_one(
    preset: str, tmp_path: Path
) -> None:
    args = f"{preset} --game pong --num-envs 2 --env.protocol.sticky 0.25 --total-timesteps 480 "
    args += f"{small_args(preset)} --env.protocol.frames-cap 400"
    _, (experiment,), _ = parse_experiment(args.split())
    (result,) = KillStorm(experiment, kills=1).measure(tmp_path)
    assert result["kills"] == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_the_small_settings_of_a_preset_parse(preset: str) -> None:
    parse_experiment([preset, *small_args(preset).split()])


@pytest.mark.results
def test_repeated_kills_change_nothing(tmp_path: Path) -> None:
    (result,) = KillStorm(KILLED, kills=5).measure(tmp_path)
    assert result["kills"] == 5


def test_a_failed_run_is_reported(tmp_path: Path) -> None:
    gone = replace(KILLED, env=GymConfig("gone-v0"))
    with pytest.raises(RunError, match=r"The run in .*straight failed with status 1"):
        next(KillStorm(gone).measure(tmp_path))


@pytest.mark.results
def test_the_committed_endurance_is_as_required() -> None:
    """Measured by ``reverie reproduce kill-storm soak``."""
    storm, soak = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("kill-storm", "soak")
    )
    assert storm["kills"] == KillStorm(KILLED).kills
    assert soak["runs"].keys() == SOAKED.keys()
    for run in soak["runs"].values():
        assert run["megabytes_per_minute"] < 1
        assert run["open_files"][0] == run["open_files"][1]
        assert run["slowdown"] < 0.05


def test_a_soak_summarizes_the_metrics_of_each_run_and_keeps_them(tmp_path: Path) -> None:
    catch = Experiment(MFECConfig(capacity=500), CatchConfig(), total_timesteps=10**9)
    soak = Soak({"catch": catch}, minutes=0.1)
    (result,) = soak.measure(tmp_path)
    summary = result["runs"]["catch"]
    assert 0 < summary["from_minute"] < summary["minutes"] <= 0.11
    assert min(summary["megabytes"]) > 10
    assert min(summary["open_files"]) > 3
    assert min(summary["steps_per_second"]) > 10
    assert next(soak.measure(tmp_path)) == result
