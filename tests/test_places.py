"""Every command works wherever reverie may be installed and started.

From a read-only wheel, as another user without a home, below a foreign repository, in an ASCII
locale, with few descriptors, and so on.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
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

USER = 54321
"""A user without an entry in /etc/passwd, as in a container."""
AS_USER = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",  # may read Python's folder
)  # fmt: skip
WITHOUT_SHARED_MEMORY = """
mount --make-rprivate /
devices=$(mktemp -d)
mount --rbind /dev $devices
mount -t tmpfs none /dev
for name in null zero full random urandom; do
    touch /dev/$name
    mount --bind $devices/$name /dev/$name
done
ln -s /proc/self/fd /dev/fd
test ! -e /dev/shm && exec "$@"
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
HOMELESS = dict.fromkeys(("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"))
NO_CACHES = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "NUMBA_CACHE_DIR": None}
"""A file in the place of the home, which keeps even root from writing there."""
WITHOUT_CACHES = """
import sys, reverie

assert reverie.__file__.startswith(sys.argv[1]), reverie
from reverie.experiments.cli.main import main

assert main(["list"]) == 0 and "numba" not in sys.modules
from reverie.world_models.density import context_trees

assert context_trees._log_product(context_trees.np.ones(3)) == 0
"""


def require(*command: str) -> None:
    """Skip the test if a command fails, which starts processes as the test would."""
    try:
        done = subprocess.run([*command, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if done.returncode:
        pytest.skip(f"{command[0]} is not permitted: {done.stderr.strip()}")


def after(script: str, place: Place) -> Place:
    """Return a place whose commands a shell starts, after a script."""
    return replace(place, prefix=("sh", "-c", f'{script} exec "$@"', "sh", *place.prefix))


def with_package(place: Place, site: Path) -> Place:
    """Return a place that has a copy of the package in another folder."""
    copy_package(site / "reverie")
    return replace(place, site=site)


def in_environment(place: Place, changed: Mapping[str, str | None]) -> Place:
    return replace(place, environment={**place.environment, **changed})


def read_only_wheel(place: Place) -> Place:
    """Install a wheel without dependencies into a folder, ahead of the editable checkout."""
    base = place.work.parent
    source, site = base / "source", base / "site"  # a build would leave files in the checkout
    copy_package(source)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(base)]
    subprocess.run([*build, str(source)], check=True)
    (wheel,) = base.glob("reverie-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    deny_caches(site / "reverie")
    return in_environment(replace(place, site=site), NO_CACHES)


def another_user(place: Place) -> Place:
    require(*AS_USER)
    os.chown(place.work, USER, USER)
    return in_environment(replace(place, prefix=(*place.prefix, *AS_USER)), HOMELESS)


def ascii_locale(place: Place) -> Place:
    work = place.work / "été 試"
    work.mkdir()
    return in_environment(replace(place, work=work), ASCII)


def repository_without_commits(place: Place) -> Place:
    """Install the package in the working tree of another repository."""
    subprocess.run(["git", "init", "--quiet", str(place.work)], check=True)
    (place.work / "pyproject.toml").write_text('[project]\nname = "other"\n')
    return with_package(place, place.work / "site")


def broken_repository(place: Place) -> Place:
    subprocess.run(["git", "init", "--quiet", str(place.work)], check=True)
    (place.work / ".git" / "HEAD").write_bytes(b"\xff\0")
    (place.work / ".git" / "index").write_text("no index")
    return with_package(place, place.work / "site")


def few_descriptors(place: Place) -> Place:
    return after("ulimit -n 64;", place)


def no_shared_memory(place: Place) -> Place:
    require("unshare", "--map-root-user", "--mount")
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", WITHOUT_SHARED_MEMORY, "sh")
    return replace(place, prefix=(*prefix, *place.prefix))


def long_temporary_folder(place: Place) -> Place:
    folder = place.work / "temporary".ljust(130, "-")
    folder.mkdir()
    return in_environment(place, {"TMPDIR": str(folder)})


def closed_stdin(place: Place) -> Place:
    return after("exec <&-;", place)


PLACES: tuple[tuple[Callable[[Place], Place], ...], ...] = (
    (read_only_wheel, few_descriptors),
    (ascii_locale, another_user),
    (repository_without_commits, long_temporary_folder, closed_stdin),
    (broken_repository, no_shared_memory),
)
"""What is unusual about each place: several things at once, as each alone would take as long."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package, and its compiled functions after the first place."""
    site = tmp_path_factory.mktemp("package")
    copy_package(site / "reverie")
    return site


@pytest.fixture
def place(package: Path, tmp_path: Path) -> Place:
    """An empty folder in which the package can be imported."""
    work = tmp_path / "work"
    work.mkdir()
    return Place(work, package)


def test_a_read_only_installation_without_a_home_works(tmp_path: Path) -> None:
    """Compiled functions do without a cache, and other commands without the compiler."""
    site = tmp_path / "site"
    copy_package(site / "reverie")
    deny_caches(site / "reverie")
    Place(tmp_path, site, environment=NO_CACHES).run("-c", WITHOUT_CACHES, str(site)).check(0)


@pytest.mark.long
@pytest.mark.parametrize("unusual", PLACES, ids=lambda x: " ".join(y.__name__ for y in x))
def test_every_command_works(unusual: tuple[Callable[[Place], Place], ...], place: Place) -> None:
    for make in unusual:
        place = make(place)
    check_alone(place)
    outcomes = place.run_commands([*WORKING, *HELP, *IN_A_CLONE])
    for command, text in (WORKING | HELP).items():
        outcomes[command].check(0, text=text)
    for command, text in IN_A_CLONE.items():
        outcomes[command].check(2, text=text)
    assert "catch" in (place.work / "report.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_output_that_is_not_read_ends_every_command_quietly(place: Place) -> None:
    """With status 141, as of SIGPIPE, or 0 if nothing was printed.

    The command then does its work, or says that its files are there already.
    """
    piped = [f"{command} |" for command in WORKING]
    pairs = (line for pair in zip(piped, WORKING, strict=True) for line in pair)
    outcomes = place.run_commands([*pairs, *(f"{command} |" for command in IN_A_CLONE)])
    for command, text in WORKING.items():
        outcomes[f"{command} |"].check(0, 128 + signal.SIGPIPE)
        again = outcomes[command]
        again.check(0, 2, text="already" if again.status else text)
    for command in IN_A_CLONE:
        outcomes[f"{command} |"].check(2)
