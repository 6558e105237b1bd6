"""The laws of parts on a device other than the CPU, in processes of their own.

A test double of a device starts threads for gradients, after which no process forked from this one
could compute a gradient.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
AGENTS = "test_an_agent or test_a_timestep"


@pytest.mark.parametrize("selected", [AGENTS, f"not ({AGENTS})"])
def test_every_part_works_on_another_device(selected: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", selected, str(TESTS / "device_laws.py")],
        cwd=TESTS.parent,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
