"""The committed results: their folder, and the layout of their JSON files."""

import json
import re
from pathlib import Path
from typing import Any

from ..runs.files import read_json, write_file
from ..runs.run import Run

RESULTS = Path(__file__).parent.parent / "results"


def committed(pattern: str) -> list[Any]:
    """Return the contents of the committed files, by name."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(pattern))]


def committed_results(kind: str) -> list[dict[str, Any]]:
    """Return the committed results of recipes of a kind, by name."""
    return [data for data in committed("*.json") if data["kind"] == kind]


def kept_provenance(run: Run) -> dict[str, Any]:
    """Return the fields of a run's provenance that a committed result keeps."""
    provenance = read_json(run.folder / "provenance.json")
    names = ("commit", "modified", "cpu", "device", "threads", "torch", "ale-py")
    return {name: provenance[name] for name in names}


def write_result(path: Path, data: Any) -> None:
    """Write a committed result, each innermost list on one line, and print its path."""
    text = json.dumps(data, indent=1, allow_nan=False)
    compact = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m.group().split()), text)
    write_file(path, compact + "\n")
    print(f"wrote {path}")
