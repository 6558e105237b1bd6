"""The committed results: their folder, and the layout of their JSON files."""

import re
from pathlib import Path
from typing import Any

from ..runs.files import read_json, to_json
from ..runs.outputs import write_or_keep
from ..runs.run import Run

RESULTS = Path(__file__).parent.parent / "results"


def kept_provenance(run: Run) -> dict[str, Any]:
    """Return the fields of a run's provenance that a committed result keeps."""
    provenance = read_json(run.folder / "provenance.json")
    names = ("commit", "modified", "cpu", "device", "threads", "torch", "ale-py")
    return {name: provenance[name] for name in names}


def write_result(path: Path, data: Any) -> None:
    """Write a committed result, each innermost list on one line, and print its path."""
    text = to_json(data, indent=1)
    compact = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m.group().split()), text)
    write_or_keep(path, compact + "\n")
    print(f"wrote {path}")
