"""Every example runs, and says what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
WORDS = {
    "loop.py": ([], r"caught (9\d|100) of the last 100 balls"),
    "own_representation.py": ([], r"catch: mean (0\.[5-9]|1)"),
    "own_env.py": ([], r"Corridor-v0: mean (0\.[89]|1)"),
    "demo.py": (
        ["--steps", "2000", "--streams", "8", "--episodes", "2"],
        r"(?s)trained, ms_pacman: mean.*random,  ms_pacman: mean.*protocol mfec with stack 4",
    ),
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    words, says = WORDS[path.name]
    done = subprocess.run(
        [sys.executable, str(path), *words],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(says, done.stdout), done.stdout
