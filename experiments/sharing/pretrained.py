"""Pretrained runs that come with the package: ``pretrained:NAME`` wherever a run is named.

Each is an exported file with a card beside it. It is imported into a run folder below the working
folder when it is first named, since results are written into the folder of a run.
"""

import re
import sys
from pathlib import Path
from typing import Any

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ..runs.files import read_json
from .share_file import SUFFIX, read_description

FOLDER = Path(__file__).resolve().parents[1] / "pretrained"
PREFIX = "pretrained:"


def pretrained_names() -> list[str]:
    """Return the names of the pretrained runs."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def pretrained_file(name: str) -> Path:
    """Return the file of a pretrained run; raises UsageError for an unknown name."""
    names = pretrained_names()
    if name not in names:
        hint = did_you_mean(name, names) or f" There are {', '.join(names) or 'none'}."
        raise UsageError(f"There is no pretrained run '{name}'.{hint}")
    return FOLDER / f"{name}{SUFFIX}"


def pretrained(name: str, folder: Path | str | None = None) -> Path:
    """Return the run folder of a pretrained run, by default runs/pretrained-NAME.

    It is imported if the folder is not there yet. Raises UsageError for an unknown name, or a
    folder that holds something else.
    """
    path = pretrained_file(name)
    folder = Path("runs") / f"pretrained-{name}" if folder is None else Path(folder)
    if not folder.exists():
        from .importing import import_run  # imports torch

        try:
            import_run(path, folder)
        except UsageError:
            if not folder.exists():  # otherwise another process was first
                raise
        else:
            print(f"Imported {PREFIX}{name} into {folder}.", file=sys.stderr)
    if _provenance(folder).get("imported", {}).get("file") != path.name:
        raise UsageError(
            f"{folder} holds another run, and {PREFIX}{name} is imported into a folder of that "
            "name; move it away."
        )
    return folder


def expand_pretrained(argv: list[str]) -> list[str]:
    """Return arguments with a run folder for ``pretrained:NAME``, alone or after ``--flag=``."""
    found = [re.fullmatch(rf"(--[^=]+=|){PREFIX}(.*)", arg) for arg in argv]
    return [
        f"{match[1]}{pretrained(match[2])}" if match else arg
        for arg, match in zip(argv, found, strict=True)
    ]


def describe_pretrained(name: str) -> dict[str, Any]:
    """Return the description of a pretrained run, with its size in bytes."""
    path = pretrained_file(name)
    return read_description(path) | {"bytes": path.stat().st_size}


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "provenance.json")
    except UsageError:
        return {}
