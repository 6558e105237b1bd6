"""Every command works wherever reverie may be installed and started.

As another user without a home, below a foreign repository, in an ASCII locale, with few
descriptors, and so on. An installed wheel and a read-only installation are in ``test_wheel.py``.
"""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_lines import IN_A_CLONE, WORKING, Place, check_alone, copy_package, deny_caches

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


def require(*command: str) -> None:
    """Skip the test if a command fails, which starts processes as the test would."""
    try:
        done = subprocess.run([*command, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if done.returncode:
        pytest.skip(f"{command[0]} is not permitted: {done.stderr.strip()}")


def shell(script: str) -> tuple[str, ...]:
    """Return a prefix that starts a command in a shell, after a script."""
    return ("sh", "-c", f'{script} exec "$@"', "sh")


def with_package(place: Place, site: Path) -> Place:
    """Return a place that has a copy of the package in another folder."""
    copy_package(site / "reverie")
    return replace(place, site=site)


def read_only(place: Place) -> Place:
    place = with_package(place, place.work.parent / "site")
    deny_caches(place.site / "reverie")
    return replace(place, environment={"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"})


def another_user(place: Place) -> Place:
    require(*AS_USER)
    os.chown(place.work, USER, USER)
    return replace(place, prefix=AS_USER, environment=HOMELESS)


def ascii_locale(place: Place) -> Place:
    work = place.work / "été 試"
    work.mkdir()
    return replace(place, work=work, environment=ASCII)


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
    return replace(place, prefix=shell("ulimit -n 64;"))


def no_shared_memory(place: Place) -> Place:
    require("unshare", "--map-root-user", "--mount")
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", WITHOUT_SHARED_MEMORY, "sh")
    return replace(place, prefix=prefix)


def long_temporary_folder(place: Place) -> Place:
    folder = place.work / "temporary".ljust(130, "-")
    folder.mkdir()
    return replace(place, environment={"TMPDIR": str(folder)})


def closed_stdin(place: Place) -> Place:
    return replace(place, prefix=shell("exec <&-;"))


PLACES: tuple[Callable[[Place], Place], ...] = (
    read_only, another_user, ascii_locale, repository_without_commits, broken_repository,
    few_descriptors, no_shared_memory, long_temporary_folder, closed_stdin,
)  # fmt: skip


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


@pytest.mark.long
@pytest.mark.parametrize("somewhere", PLACES, ids=lambda x: x.__name__)
def test_every_command_works(somewhere: Callable[[Place], Place], place: Place) -> None:
    place = somewhere(place)
    check_alone(place)
    outcomes = place.run_commands([*WORKING, *IN_A_CLONE])
    for command, text in WORKING.items():
        outcomes[command].check(0, text=text)
    for command, text in IN_A_CLONE.items():
        outcomes[command].check(2, text=text)


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
