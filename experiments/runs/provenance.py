"""Provenance of a run: the code, versions and hardware that bit-for-bit equality depends on."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "gymnasium", "ale-py", "numpy")
CODE_ONLY = ("--", ":/", ":/!experiments/results")
"""Pathspec of the code without the committed results, which runs rewrite."""


def provenance(device: torch.device, threads: int) -> dict[str, Any]:
    """Return command, commit, package versions, device, CPU and thread count of this process."""
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


def code_version() -> dict[str, Any]:
    """Return the commit of the checkout (None outside of one) and whether files are modified."""
    git = ["git", "-C", str(Path(__file__).parent)]
    return {
        "commit": _output([*git, "rev-parse", "HEAD"]),
        "modified": bool(_output([*git, "status", "--porcelain", "-uno", *CODE_ONLY])),
    }


def cpu_name() -> str:
    """Return the CPU's model name and its number of cores."""
    found = re.search("^model name.*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
