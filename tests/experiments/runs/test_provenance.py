"""Provenance names the code of this package, and never another repository's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reverie.experiments.runs.files import read_json
from reverie.experiments.runs.provenance import code_version, hash_of_files
from reverie.experiments.runs.run import Run

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false",
       "-c", "protocol.file.allow=always")  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    environment = {name: x for name, x in os.environ.items() if not name.startswith("GIT_")}
    command = [*GIT, "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def committed(folder: Path) -> str:
    """Make a folder a repository with one commit of all files, and return the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "all", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package, as it is installed: without pyproject.toml."""
    root = tmp_path / "project" / "site-packages" / "reverie"
    (root / "agents").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "agents" / "agent.py").write_text("x = 1\n")
    return root


@pytest.fixture
def checkout(package: Path) -> Path:
    (package / "pyproject.toml").write_text('[project]\nname = "reverie"\nversion = "9.8"\n')
    hash_of_files.cache_clear()
    return package


def assert_unknown(root: Path) -> None:
    found = code_version(root)
    assert (found["commit"], found["modified"]) == (None, None)
    assert len(found["package_hash"]) == 64


def test_a_checkout_has_its_commit_and_whether_files_are_modified(checkout: Path) -> None:
    commit = committed(checkout)
    found = code_version(checkout)
    assert (found["commit"], found["modified"]) == (commit, False)
    assert found["package_version"] == "9.8"
    (checkout / "agents" / "agent.py").write_text("x = 2\n")
    hash_of_files.cache_clear()
    changed = code_version(checkout)
    assert (changed["commit"], changed["modified"]) == (commit, True)
    assert changed["package_hash"] != found["package_hash"]


def test_an_installation_in_another_repository_has_no_commit(package: Path) -> None:
    committed(package.parents[1])
    assert_unknown(package)
    (package.parents[1] / "pyproject.toml").write_text('[project]\nname = "reverie"\n')
    assert_unknown(package)
    committed(package)  # a repository of the folder itself, which is not this package's
    assert_unknown(package)


def test_a_copy_of_a_checkout_in_another_repository_has_no_commit(checkout: Path) -> None:
    committed(checkout.parents[1])
    assert_unknown(checkout)


def test_an_installation_outside_of_a_repository_has_the_hash_of_its_checkout(
    checkout: Path, tmp_path: Path
) -> None:
    committed(checkout)
    installed = tmp_path / "elsewhere"
    shutil.copytree(checkout, installed, ignore=shutil.ignore_patterns(".git", "pyproject.toml"))
    (installed / "agents" / "__pycache__").mkdir()
    (installed / "agents" / "__pycache__" / "agent.pyc").write_bytes(b"cache")
    assert_unknown(installed)
    assert hash_of_files(installed) == hash_of_files(checkout)


def test_variables_of_another_repository_have_no_effect(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = committed(checkout)
    other = tmp_path / "other"
    other.mkdir()
    assert committed(other) != commit
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(checkout))
    assert code_version(checkout)["commit"] == commit


def test_a_worktree_and_a_submodule_have_their_own_commits(checkout: Path, tmp_path: Path) -> None:
    first = committed(checkout)
    worktree = tmp_path / "worktree"
    git(checkout, "worktree", "add", "--quiet", "--detach", str(worktree))
    assert code_version(worktree)["commit"] == first
    git(worktree, "commit", "--quiet", "--allow-empty", "--message", "next")
    assert code_version(worktree)["commit"] == git(worktree, "rev-parse", "HEAD") != first
    outer = tmp_path / "outer"
    outer.mkdir()
    committed(outer)
    git(outer, "submodule", "--quiet", "add", str(checkout), "reverie")
    assert code_version(outer / "reverie")["commit"] == first


def test_a_checkout_that_another_user_owns_is_read(checkout: Path) -> None:
    commit = committed(checkout)
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 12345, 12345)
    assert code_version(checkout)["commit"] == commit


@pytest.mark.parametrize("missing", ["git", "home", "commits"])
def test_nothing_fails_without(
    missing: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = committed(checkout)
    if missing == "git":
        monkeypatch.setenv("PATH", str(tmp_path))
        assert_unknown(checkout)
    elif missing == "home":
        monkeypatch.setenv("HOME", "/nonexistent")
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        assert code_version(checkout)["commit"] == commit
    else:
        shutil.rmtree(checkout / ".git")
        git(checkout, "init", "--quiet")
        assert_unknown(checkout)


def test_a_run_of_unknown_code_is_not_called_unmodified(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step, (modified, expected) in enumerate([(None, None), (False, None), (True, True)]):
        run.begin({}, 10 * step, {"commit": None, "modified": modified})
        provenance = read_json(tmp_path / "provenance.json")
        assert provenance["modified"] is expected
