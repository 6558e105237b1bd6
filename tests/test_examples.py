"""Every example runs, and prints the result that it promises."""

import ast
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
EXPECTED = {
    "loop.py": ([], r"caught (9\d|100) of the last 100 balls"),
    "own_representation.py": ([], r"catch: mean (0\.[5-9]|1)"),
    "own_env.py": ([], r"Corridor-v0: mean (0\.[89]|1)"),
    "demo.py": (
        ["--total-timesteps", "1600", "--num-envs", "2", "--episodes", "1"],
        r"(?s)trained agent +ms_pacman: mean.*protocol mfec with stack 4, eval_epsilon 0.*"
        r"random play +ms_pacman: mean.*always upright +ms_pacman: mean.*memories\.png.*"
        r"\nreverie play runs/demo\n$",
    ),
}
"""Arguments of each example, and a pattern of its output."""


def test_the_demo_draws_a_curve_from_its_first_to_its_last_point() -> None:
    demo = runpy.run_path(str(EXAMPLES / "demo.py"))
    blocks, rising = demo["blocks"], "▁▂▃▄▅▆▇█"
    assert blocks(range(8)) == blocks([0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0]) == rising
    assert blocks(range(800), width=8) == rising, "more points than characters"
    assert blocks([5.0]) == "▁"
    assert blocks([5.0] * 3) == "▁▁▁"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_prints_its_result(path: Path, tmp_path: Path) -> None:
    args, pattern = EXPECTED[path.name]
    done = subprocess.run(
        [sys.executable, str(path), *args],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(pattern, done.stdout), done.stdout


@pytest.mark.parametrize("name", ["own_env", "own_representation"])
def test_commands_of_an_example_work_in_its_folder_and_with_its_folder_on_the_path(
    name: str, tmp_path: Path
) -> None:
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()), clean=False)
    assert text
    commands = re.findall(r"^ +(reverie .*)", text.replace("\\\n", " "), re.MULTILINE)
    shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    path = os.pathsep.join(filter(None, (str(EXAMPLES), os.environ.get("PYTHONPATH"))))
    (tmp_path / "elsewhere").mkdir()
    train, evaluate = (shlex.split(command)[1:] for command in commands)
    for argv, folder, env in (
        (train, tmp_path, environment),
        (evaluate, tmp_path / "elsewhere", environment | {"PYTHONPATH": path}),
    ):
        argv = [arg.replace("runs/", f"{tmp_path}/runs/") for arg in argv]
        command = [sys.executable, "-P", "-m", "reverie.experiments.cli.main", *argv]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert re.search(r"mean (0\.[5-9]|1)", done.stdout), done.stdout
