"""Measurements in a budget of time, in a process that may fail, hang or be killed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.experiments.bench import bench
from reverie.experiments.bench import session as bench_session
from reverie.experiments.bench.budget import due, measure
from reverie.experiments.bench.measurement import Measurement, MeasuringProcess
from reverie.experiments.bench.session import BenchOptions, BenchSession, Row, covered, row, save
from reverie.experiments.cli import bench as cli_bench
from reverie.experiments.cli.main import main

CPU = torch.device("cpu")


def a_session(**options: Any) -> BenchSession:
    return BenchSession(BenchOptions(save=True, sweep=True, **options), CPU, threads=1, peers={})


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of results, in a folder of the test."""
    monkeypatch.setattr(bench_session, "RESULTS", tmp_path)
    return tmp_path / "bench" / "cpu.json"


def names(results: Path) -> list[str]:
    return [row["name"] for session in json.loads(results.read_text()) for row in session["rows"]]


def quick(session: BenchSession, name: str) -> Iterator[Row]:
    yield row(name, "seconds", 1.0)


def broken(session: BenchSession) -> Iterator[Row]:
    yield row("a part of it", "seconds", 1.0)
    raise ValueError("no such kernel")


def dies(session: BenchSession) -> Iterator[Row]:
    yield row("a part of it", "seconds", 1.0)
    os._exit(3)


def hangs(session: BenchSession, pid_file: Path) -> Iterator[Row]:
    child = subprocess.Popen(["sleep", "100"])
    pid_file.write_text(str(child.pid))
    child.wait()
    yield {}


def kills_once(session: BenchSession, marker: Path) -> Iterator[Row]:
    """End the process that asked for the row with SIGKILL, the first time."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getppid(), signal.SIGKILL)
    yield row("second", "seconds", 1.0)


def says_what_is_left(session: BenchSession) -> Iterator[Row]:
    yield row("left", "seconds", session.deadline - time.monotonic())


def test_a_killed_call_is_continued_with_the_missing_rows(results: Path, tmp_path: Path) -> None:
    table = {
        "first": Measurement(partial(quick, name="first")),
        "second": Measurement(partial(kills_once, marker=tmp_path / "killed")),
    }
    pid = os.fork()
    if not pid:
        measure(table, a_session())
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert names(results) == ["first"]
    assert list(due(table, a_session())) == ["second"]
    measure(due(table, a_session()), a_session())
    assert names(results) == ["first", "second"]
    assert not due(table, a_session())
    assert len(json.loads(results.read_text())) == 1, "rows of one version are one session"


def test_what_fails_leaves_its_error_and_the_others_are_measured(
    results: Path, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    table = {
        "broken": Measurement(broken),
        "dies": Measurement(dies),
        "hangs": Measurement(partial(hangs, pid_file=pid_file)),
        "last": Measurement(partial(quick, name="last")),
    }
    process = MeasuringProcess(CPU)
    limits = {"hangs": 1.0}
    errors = {
        name: [x.get("error") for x in process.rows(name, y, a_session(), limits.get(name, 60.0))]
        for name, y in table.items()
    }
    process.close()
    assert errors == {
        "broken": [None, "ValueError: no such kernel"],
        "dies": [None, "its process ended with exit code 3"],
        "hangs": ["stopped after its limit of 1 s"],
        "last": [None],
    }
    state = Path(f"/proc/{pid_file.read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z", "its processes end, too"


def test_what_was_never_measured_comes_first_and_what_failed_last(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {name: Measurement(broken) for name in ("failed", "old", "done", "new", "mended")}
    about = {"package_hash": "other code"}
    rows = [{"measurement": "old"}, {"measurement": "failed"}, {"measurement": "mended"}]
    results.parent.mkdir()
    results.write_text(json.dumps([{"provenance": about, "rows": rows}]))
    failed = {"measurement": "failed", "error": "no"}
    save(a_session(), [failed, {"measurement": "done"}, failed | {"measurement": "mended"}])
    save(a_session(), [{"measurement": "mended"}])
    assert list(due(table, a_session())) == ["new", "old", "failed"]


def test_a_budget_keeps_time_for_what_fills_the_rest() -> None:
    table = {
        "fits": Measurement(partial(quick, name="fits"), seconds=5),
        "too long": Measurement(partial(quick, name="too long"), seconds=30),
        "fills": Measurement(says_what_is_left, seconds=35, fills=True),
        "after it": Measurement(partial(quick, name="after it"), seconds=40),
    }
    session = BenchSession(BenchOptions(minutes=1), CPU, threads=1, peers={})
    rows = measure(table, session)
    assert [row["name"] for row in rows] == ["fits", "left", "after it"]
    assert 35 < rows[1]["seconds"] <= 60
    without = replace(session, options=BenchOptions())
    assert [row["name"] for row in measure(table, without)] == [
        "fits",
        "too long",
        "left",
        "after it",
    ]


def test_a_measurement_has_three_times_its_seconds_or_what_is_left() -> None:
    assert Measurement(broken, seconds=10).limit(500) == 60
    assert Measurement(broken, seconds=10).limit(40) == 40
    assert Measurement(broken, seconds=10, fills=True).limit(500) == 500
    assert Measurement(broken).limit(500) == 500


def test_overlapping_spans_count_once() -> None:
    assert covered([]) == 0
    assert covered([(4, 5), (0, 2), (1, 3), (1, 2)]) == 4


def test_a_session_of_another_command_is_another_one(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(a_session(), [{"name": "a"}])
    monkeypatch.setattr("sys.argv", ["reverie", "other"])
    save(a_session(), [{"name": "b"}])
    assert [len(session["rows"]) for session in json.loads(results.read_text())] == [1, 1]


def test_the_command_tells_by_its_status_whether_a_group_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {"broken": broken, "quick": partial(quick, name="quick")}
    monkeypatch.setattr(cli_bench, "GROUPS", groups)
    assert main(["bench", "--device", "cpu", "--threads", "1", "--only", "quick"]) == 0
    assert main(["bench", "--device", "cpu", "--threads", "1", "--only", "k"]) == 1
    out, error = capsys.readouterr()
    assert "quick: 0 s" in out
    assert "broken failed: ValueError: no such kernel" in error


def test_a_dry_run_lists_what_is_due(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["bench", "--sweep", "--dry-run", "--save", "--device", "cpu", "--only", "ppo, fp32"]
    assert main(args) == 0
    assert "training ppo, fp32, eager, 2 envs " in capsys.readouterr().out
    save(a_session(), [{"measurement": "training ppo, fp32, eager, 2 envs"}])
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "training ppo, fp32, eager, 2 envs " not in out
    assert "training ppo, fp32, eager, 4 envs " in out


@pytest.mark.parametrize(("load", "warned"), [(0.25, False), (6.0, True)])
def test_a_busy_machine_is_named(
    load: float, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    groups = {"quick": partial(quick, name="quick")}
    assert len(bench(BenchOptions(device="cpu", threads=1), groups)) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert (
        error.startswith("Warning: in the last minute the load of this machine was 6.0 on 2")
        == warned
    )
    assert warned or not error
