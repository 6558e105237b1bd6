"""An installed package works outside the checkout, with its data files, and where it is read-only.

A file in the place of ``__pycache__`` and of the home keeps even root from writing caches.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reverie.experiments.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
RUN = """
import contextlib, io, json, sys, reverie
from reverie.experiments.cli.main import main

assert reverie.__file__.startswith(sys.argv[1]), reverie
results = []
for command in sys.argv[2:]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            status = main(command.split())
        except SystemExit as end:
            status = end.code
    results.append((status, output.getvalue()))
print(json.dumps(results))
"""
"""Runs commands one after another, and prints the status and the output of each."""


def copy_package(folder: Path) -> None:
    for name in ("agents", "envs", "world_models", "experiments"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.mp4")
        )
    shutil.copy(ROOT / "__init__.py", folder)


def deny_caches(package: Path) -> None:
    for folder in {path.parent for path in package.rglob("*.py")}:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        (folder / "__pycache__").touch()


def run_in(folder: Path, site: Path, code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of another user: without a home, and with the package of a site."""
    kept = {name: x for name, x in os.environ.items() if name not in ("NUMBA_CACHE_DIR",)}
    env = kept | {"PYTHONPATH": str(site), "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"}
    command = [sys.executable, "-c", code, str(site), *argv]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)


def test_a_read_only_installation_without_a_home_works(tmp_path: Path) -> None:
    """Compiled functions do without a cache, and other commands without the compiler."""
    site = tmp_path / "site"
    copy_package(site / "reverie")
    deny_caches(site / "reverie")
    code = (
        "import sys, reverie\n"
        "assert reverie.__file__.startswith(sys.argv[1]), reverie\n"
        "from reverie.experiments.cli.main import main\n"
        "assert main(['list']) == 0 and 'numba' not in sys.modules\n"
        "from reverie.world_models.density import context_trees\n"
        "assert context_trees._log_product(context_trees.np.ones(3)) == 0\n"
    )
    done = run_in(tmp_path, site, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_all_commands_work_from_a_wheel_outside_the_checkout(tmp_path: Path) -> None:
    """Installed without dependencies into a folder of its own, ahead of the editable checkout."""
    source = tmp_path / "source"  # a build would leave files in the checkout
    copy_package(source)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True)
    (wheel,) = tmp_path.glob("reverie-*.whl")
    site, work = tmp_path / "site", tmp_path / "work"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    deny_caches(site / "reverie")
    work.mkdir()

    quick = "--device cpu --threads 1"
    quiet = f"{quick} --quiet"
    dqn = "dqn bonus:pseudo-count env:catch agent.network:mlp --total-timesteps 100"
    grid = "mfec env:catch --seeds 1 --total-timesteps 80 --workers 1 --episodes 2"
    expected = {
        f"train ppo env:catch --total-timesteps 2000 --folder run {quiet}": "",
        f"train {dqn} --num-envs 4 --folder count {quiet}": "",
        f"evaluate run --episodes 5 --video {quick}": "catch: mean",
        "evaluate random --games pong --episodes 1 --max-steps 50 --threads 1": "pong: mean",
        "report run": "report.html",
        f"collect run --frames 800 --num-envs 4 --folder data {quick}": "800 frames",
        f"pretrain representation:vae --data data --num-updates 2 --folder fit {quiet}": "",
        "play run --video film.mp4 --timesteps 5 --device cpu": "5 timesteps",
        f"ablate {grid} --device cpu --folder grid": "report.html",
        "export run": "ppo on catch",
        "import run.safetensors --folder imported": "reverie play imported",
        "evaluate pretrained:ms_pacman-mfec --episodes 1 --max-steps 9": "ms_pacman: mean",
        "play pretrained:freeway --video dream.mp4 --timesteps 3 --device cpu": "3 timesteps",
        "list pretrained": "freeway",
        "list games": "ms_pacman",
        "list roles": "predictor:",
        **{f"{command} --help": command for command in COMMANDS},
    }
    in_a_clone = ("verify", "verify --write", "reproduce soak", "bench --save")
    expected |= dict.fromkeys(in_a_clone, "run it in a clone of the repository")
    forking = {  # without the threads that other commands leave behind in the process
        "doctor --seconds 0.1 --device cpu": "No problems found",
        "bench --only replay --device cpu": "replay: sampling",
    }
    results = []
    for commands in ([*expected], *([command] for command in forking)):
        done = run_in(work, site, RUN, *commands)
        assert done.returncode == 0, done.stderr
        results += json.loads(done.stdout.splitlines()[-1])
    for (command, text), (status, output) in zip(
        (expected | forking).items(), results, strict=True
    ):
        assert status == (2 if command in in_a_clone else 0), (command, output)
        assert text in output, command
        assert "Traceback" not in output, (command, output)
    assert "catch" in (work / "report.html").read_text()
