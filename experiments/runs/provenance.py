"""Provenance of a run: the code, versions and hardware that bit-for-bit equality depends on."""

import hashlib
import os
import platform
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
"""Root of the package, which is the root of its checkout, if it is in one."""
SOURCES = ("agents", "envs", "experiments", "world_models")
"""Folders of the package's files; a checkout has others beside them."""
PACKAGES = ("torch", "gymnasium", "ale-py", "numpy")
CODE_ONLY = ("--", ":/", ":/!experiments/results")
"""Pathspec of the code without the committed results, which runs rewrite."""


def provenance(device: torch.device, threads: int) -> dict[str, Any]:
    """Return command, code, package versions, device, CPU and thread count of this process."""
    return {
        "command": command(),
        **code_version(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_name(),
        "threads": threads,
    }


def command() -> str:
    """Return the command of this process."""
    return " ".join(["reverie", *sys.argv[1:]])


def code_version(root: Path = ROOT) -> dict[str, Any]:
    """Return the version of the package, a hash of its files, and the commit of its checkout.

    ``modified`` is whether files differ from the commit. Both are None outside a checkout of this
    package, as in an installation below another project's repository, and where git cannot tell.
    """
    commit = modified = None
    if _is_checkout(root):
        commit = _git(root, "rev-parse", "--verify", "HEAD")
        changes = _git(root, "status", "--porcelain", "-uno", *CODE_ONLY)
        modified = bool(changes) if commit and changes is not None else None
    return {
        "package_version": package_version(root),
        "package_hash": hash_of_files(root),
        "commit": commit,
        "modified": modified,
    }


def package_version(root: Path = ROOT) -> str | None:
    """Return the version in the checkout's pyproject.toml, else that of the installed package."""
    if project := _project(root):
        return str(project.get("version"))
    try:
        return version("reverie")
    except PackageNotFoundError:
        return None


@cache
def hash_of_files(root: Path = ROOT) -> str:
    """Return the SHA-256 of the names and contents of the package's files, without results.

    It is the same for a checkout and for what was installed from it.
    """
    paths = [root / "__init__.py", *(path for part in SOURCES for path in (root / part).rglob("*"))]
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(root).as_posix() for path in paths if path.is_file()):
        if "__pycache__" not in name and not name.startswith("experiments/results/"):
            content = hashlib.sha256((root / name).read_bytes()).hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def _is_checkout(root: Path) -> bool:
    """Return whether a folder is the top of a work tree, and that of this package."""
    top = _git(root, "rev-parse", "--show-toplevel")
    return top is not None and Path(top).resolve() == root and _project(root) is not None


def _project(root: Path) -> dict[str, Any] | None:
    """Return the project table of this package's pyproject.toml, if it is there."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, LookupError):
        return None
    return project if project.get("name") == "reverie" else None


def cpu_name() -> str:
    """Return the CPU's model name and its number of cores."""
    found = re.search(
        "^model name.*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
    )
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of git on a folder's own repository; None if it fails or is absent.

    Variables such as GIT_DIR, which a hook of another repository sets, have no effect; a checkout
    that another user owns is trusted, because its code is running.
    """
    environment = {name: x for name, x in os.environ.items() if not name.startswith("GIT_")}
    settings = ("-c", f"safe.directory={root}", "-c", "core.fsmonitor=false")
    command = ["git", "--no-optional-locks", *settings, "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return os.fsdecode(done.stdout).strip()
