"""Logs of any size: they are read line by line, and no more of them than is needed."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import CATCH

from reverie import train
from reverie.envs.errors import UsageError
from reverie.experiments.cli.main import main
from reverie.experiments.runs import run as run_module
from reverie.experiments.runs.run import Run

from sample_agents import OPTIONS

MEMORY = 3_000_000


@pytest.mark.long
def test_a_log_of_more_than_2_gib_is_read(tmp_path: Path) -> None:
    """It is mostly a hole, as a file system leaves one."""
    path = tmp_path / "metrics.jsonl"
    with open(path, "wb") as file:
        file.truncate((2 << 30) + 100)
        file.seek((2 << 30) + 100)
        file.write(b'\n{"step": 9, "frames": 9}\n')
    tracemalloc.start()
    try:
        assert Run(tmp_path).last_line("metrics.jsonl")["step"] == 9
        assert tracemalloc.get_traced_memory()[1] < 2 * MEMORY
    finally:
        tracemalloc.stop()
    with pytest.raises(UsageError, match="too many to hold its rows in memory; move it elsewhere"):
        Run(tmp_path).read_lines("metrics.jsonl")


def test_rows_are_removed_from_a_log_without_memory_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    with open(path, "w") as file:
        for step in range(5_000):
            file.write(json.dumps({"step": step, "frames": 4, "x": "-" * 2_000}) + "\n")
    size = path.stat().st_size
    tracemalloc.start()
    try:
        Run(tmp_path).truncate_lines("metrics.jsonl", 4_000)
        assert tracemalloc.get_traced_memory()[1] < MEMORY < size / 3
    finally:
        tracemalloc.stop()
    assert Run(tmp_path).last_line("metrics.jsonl")["step"] == 4_000
    assert not capsys.readouterr().err


def test_a_run_with_any_number_of_episodes_is_drawn_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "MAX_FILE_BYTES", 1)
    run = train(replace(CATCH, total_timesteps=240), tmp_path / "run", OPTIONS)
    assert run.finished
    assert (run.folder / "figures" / "learning_curve.png").exists()
    assert main(["evaluate", str(run.folder), "--episodes", "2"]) == 0
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0
