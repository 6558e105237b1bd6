"""Commands whose files fail, whose power is lost or which are killed, at any of their operations.

``REVERIE_TRIALS`` is the number of trials of each scenario in the long tests.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from durability import SCENARIOS, Trials, crash_points, single_faults, small_blocks

LONG = int(os.environ.get("REVERIE_TRIALS", "6"))


@pytest.fixture(autouse=True)
def blocks_of_short_runs() -> Iterator[None]:
    with small_blocks():
        yield


def problems(trials: Trials, size: int) -> list[str]:
    """Return what went wrong in trials of every kind."""
    found = [(f"power lost after {x}", problem) for x, problem in crash_points(trials, size, 0)]
    found += [(str(case), problem) for case, problem in single_faults(trials, size, 0)]
    found += [(str(case), trials.try_case(case)) for case in trials.kills(size, 0)]
    return [f"{case}: {problem}" for case, problem in found if problem]


def test_nothing_of_a_run_is_lost_by_a_fault(tmp_path: Path) -> None:
    assert not problems(Trials("train dqn", tmp_path), 4)


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_command_loses_anything_by_a_fault(name: str, tmp_path: Path) -> None:
    assert not problems(Trials(name, tmp_path), LONG)
