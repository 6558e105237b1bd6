"""The saved scores of a grid whose seeds run in several parts, on one machine or on several."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..runs.files import read_json


def parse_seeds(text: str) -> range:
    """Return the seeds from 4 to 7 of ``4-7``, or one; raises UsageError for another text."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    first, last = (int(x or match[1]) for x in match.groups()) if match else (1, 0)
    if first > last:
        raise UsageError(
            f"--only-seeds is '{text}'; write the first and the last seed, as in 4-7, or one."
        )
    return range(first, last + 1)


def other_runs(path: Path, command: str, seeds: range) -> list[dict[str, Any]]:
    """Return the saved runs of other seeds; raises UsageError if the file is of another grid."""
    if not path.exists():
        return []
    saved = read_json(path)
    if saved.get("command") != command:
        raise UsageError(
            f"{path} has the scores of `{saved.get('command')}`, to which those of other seeds of "
            f"`{command}` cannot be added; choose another --save."
        )
    return [run for run in saved["runs"] if run["seed"] not in seeds]


def joined(data: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a grid's scores with those of other seeds, or None if their variants differ.

    They differ until each variant has a finished run, since their names are those of differences.
    """
    if not others:
        return data
    variants = data["variants"]
    if {run["variant"] for run in others} != set(variants):
        return None
    runs = [*data["runs"], *others]
    runs.sort(key=lambda run: (variants.index(run["variant"]), run["env_name"], run["seed"]))
    return data | {"runs": runs}


def whole_seeds(path: Path, command: str, cells: int) -> set[int]:
    """Return the seeds of which every cell has saved scores; none of a file of another grid."""
    saved = read_json(path) if path.exists() else {}
    if saved.get("command") != command:
        return set()
    counts = Counter(run["seed"] for run in saved["runs"])
    return {seed for seed, count in counts.items() if count == cells}
