"""The wheel works outside the checkout, with its data files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_a_wheel_trains_evaluates_and_reports(tmp_path: Path) -> None:
    """Installed without dependencies into a folder of its own, ahead of the editable checkout."""
    source = tmp_path / "source"  # a build would leave files in the checkout
    for name in ("agents", "envs", "world_models", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("__init__.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True)
    (wheel,) = tmp_path.glob("reverie-*.whl")
    site, home = tmp_path / "site", tmp_path / "home"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    home.mkdir()

    def reverie(*argv: str) -> str:
        code = (
            "import reverie, sys; assert reverie.__file__.startswith(sys.argv[1]), reverie; "
            "from reverie.experiments.cli.main import main; sys.exit(main(sys.argv[2:]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(site), *argv],
            cwd=home, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    quick = ("--device", "cpu", "--threads", "1")
    reverie("train", "ppo", "env:catch", "--total-timesteps", "2000", "--folder", "run", *quick)
    assert "catch: mean" in reverie("evaluate", "run", "--episodes", "5", *quick)
    assert "report.html" in reverie("report", "run")
    assert "catch" in (home / "report.html").read_text()
