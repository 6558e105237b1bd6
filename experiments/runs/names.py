"""Names of run folders in tables, figures and reports."""

from collections.abc import Collection
from pathlib import Path


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
