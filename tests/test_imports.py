"""Imports point one way, and the light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = ["envs", "world_models", "agents", "experiments"]


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add(str(node.module).partition(".")[0])
    return names


def test_imports_point_one_way() -> None:
    for rank, package in enumerate(ORDER):
        for path in (ROOT / package).rglob("*.py"):
            later = imported_packages(path) & set(ORDER[rank + 1 :])
            assert not later, f"{path.relative_to(ROOT)} imports {later}"


def test_help_and_the_list_of_games_load_no_torch() -> None:
    code = (
        "import sys; from experiments.cli import main; "
        "status = main(sys.argv[1:]); assert status == 0; "
        "heavy = {'torch', 'gymnasium', 'tyro'} & set(sys.modules); assert not heavy, heavy"
    )
    for words in (["--help"], ["list", "games"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "ms_pacman" in done.stdout or "reverie train" in done.stdout
