"""Commands whose files fail, whose power is lost or which are killed, at any of their operations.

The trials are made in a process without threads, because each forks it. ``REVERIE_TRIALS`` is the
number of trials of each kind and scenario in the long tests.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from durability import KINDS, PRESET_SCENARIOS, SCENARIOS

from reverie.experiments.reporting.committed import committed

SCRIPT = Path(__file__).parents[2] / "durability.py"
LONG = int(os.environ.get("REVERIE_TRIALS", "2"))


def try_out(scenarios: str, size: int, folder: Path, kinds: Iterable[str] = KINDS) -> None:
    """Fail with the problems that trials of scenarios have shown."""
    flags = [*(f"{kind}={size}" for kind in kinds), "--folder", str(folder), "--scenarios"]
    ended = subprocess.run(
        [sys.executable, SCRIPT, *flags, scenarios],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_nothing_of_a_run_is_lost_by_a_fault(tmp_path: Path) -> None:
    try_out("train dqn", 3, tmp_path)


def test_the_committed_trials_are_of_scenarios_and_broke_no_promise() -> None:
    trials = [data for data in committed("trials/*.json") if data["kind"] == "durability"]
    counts = {name: count for data in trials for name, count in data["scenarios"].items()}
    assert counts.keys() == {*SCENARIOS, *PRESET_SCENARIOS}
    for name in SCENARIOS:
        assert all(counts[name][kind] > 0 for kind in KINDS)
    assert all(counts[name]["kills"] >= 20 for name in PRESET_SCENARIOS)
    assert not any(count["problems"] for count in counts.values())


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_command_loses_anything_by_a_fault(name: str, tmp_path: Path) -> None:
    try_out(name, LONG, tmp_path)


@pytest.mark.results
@pytest.mark.parametrize("name", PRESET_SCENARIOS)
def test_a_killed_preset_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    try_out(name, max(LONG // 4, 1), tmp_path, ["kills"])
