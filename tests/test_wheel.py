"""An installed package works outside the checkout, with its data files, and where it is read-only.

A file in the place of ``__pycache__`` and of the home keeps even root from writing caches.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import (
    HELP,
    IN_A_CLONE,
    ROOT,
    WORKING,
    Place,
    check_alone,
    copy_package,
    deny_caches,
)

HOMELESS = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "NUMBA_CACHE_DIR": None}
WITHOUT_CACHES = """
import sys, reverie

assert reverie.__file__.startswith(sys.argv[1]), reverie
from reverie.experiments.cli.main import main

assert main(["list"]) == 0 and "numba" not in sys.modules
from reverie.world_models.density import context_trees

assert context_trees._log_product(context_trees.np.ones(3)) == 0
"""


def test_a_read_only_installation_without_a_home_works(tmp_path: Path) -> None:
    """Compiled functions do without a cache, and other commands without the compiler."""
    site = tmp_path / "site"
    copy_package(site / "reverie")
    deny_caches(site / "reverie")
    Place(tmp_path, site, environment=HOMELESS).run("-c", WITHOUT_CACHES, str(site)).check(0)


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

    place = Place(work, site, environment=HOMELESS)
    check_alone(place)
    outcomes = place.run_commands([*WORKING, *HELP, *IN_A_CLONE])
    for command, text in (WORKING | HELP).items():
        outcomes[command].check(0, text=text)
    for command, text in IN_A_CLONE.items():
        outcomes[command].check(2, text=text)
    assert "catch" in (work / "report.html").read_text()
