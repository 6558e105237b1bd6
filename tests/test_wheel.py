"""An installed package works outside the checkout, with its data files, and where it is read-only.

A file in the place of ``__pycache__`` and of the home keeps even root from writing caches.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = """
import sys, reverie
from reverie.experiments.cli.main import main
assert reverie.__file__.startswith(sys.argv[1]), reverie
sys.exit(main(sys.argv[2:]))
"""


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
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


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

    def reverie(text: str, status: int = 0) -> str:
        done = run_in(work, site, RUN, *text.split())
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    quick = "--device cpu --threads 1"
    quiet = f"{quick} --quiet"
    reverie(f"train ppo env:catch --total-timesteps 2000 --folder run {quiet}")
    dqn = "dqn bonus:pseudo-count env:catch agent.network:mlp --total-timesteps 100"
    reverie(f"train {dqn} --num-envs 4 --folder count {quiet}")
    assert "catch: mean" in reverie(f"evaluate run --episodes 5 --video {quick}")
    assert "pong: mean" in reverie("evaluate random --games pong --episodes 1 --threads 1")
    assert "report.html" in reverie("report run")
    assert "catch" in (work / "report.html").read_text()
    assert "800 frames" in reverie(f"collect run --frames 800 --num-envs 4 --folder data {quick}")
    vae = "pretrain representation:vae --data data --num-updates 2 --folder fit"
    reverie(f"{vae} {quiet}")
    assert "5 timesteps" in reverie("play run --video film.mp4 --timesteps 5 --device cpu")
    grid = "mfec env:catch --seeds 1 --total-timesteps 80 --workers 1 --episodes 2"
    assert "report.html" in reverie(f"ablate {grid} --device cpu --folder grid")
    assert "ms_pacman" in reverie("list games")
    assert "predictor:" in reverie("list roles")
    assert "No problems found" in reverie("doctor --seconds 0.1 --device cpu")
    assert "reverie --help" in reverie("bench --only commands --device cpu")
    for command in ("train", "evaluate", "ablate", "report", "collect", "pretrain", "list"):
        assert command in reverie(f"{command} --help")
    for command in ("reproduce", "verify", "bench", "doctor", "play"):
        assert command in reverie(f"{command} --help")
    for command in ("verify", "verify --write", "reproduce soak", "bench --save"):
        assert "run it in a clone of the repository" in reverie(command, status=2)
