"""Names of run folders in tables, figures and reports."""

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path

MAX_NAME = 150
"""Greatest length of a safe name."""


def safe_name(name: str) -> str:
    """Return a name of a file that is safe in links and on every file system.

    Other characters than letters, digits and ``._=-``, and dots at its beginning, become hyphens. A
    name that changes, or is too long, ends in a digest of the given one before its suffix.
    """
    kept = re.sub(r"[^A-Za-z0-9._=-]|^\.+", "-", name)
    if kept == name and len(name) <= MAX_NAME:
        return name
    stem, dot, suffix = kept.rpartition(".")
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{(stem or suffix)[: MAX_NAME - 20]}-{digest}{dot and f'.{suffix[:10]}'}"


def unique_names(folders: Collection[Path], taken: Collection[str] = ()) -> dict[Path, str]:
    """Return a name for each folder: the end of its path that no other folder has, nor ``taken``.

    All ends have the same number of parts, one if possible: ``a`` and ``b`` for ``runs/a`` and
    ``runs/b``, but ``x/a`` and ``y/a`` for ``runs/x/a`` and ``runs/y/a``.
    """
    parts = {folder: folder.resolve().parts for folder in folders}
    ends: dict[tuple[str, ...], str] = {}
    for length in range(1, max(map(len, parts.values()), default=0) + 1):
        ends = {x: "/".join(x[-length:]) for x in parts.values()}
        names = set(ends.values())
        if len(names) == len(ends) and names.isdisjoint(taken):
            break
    return {folder: ends[x] for folder, x in parts.items()}
