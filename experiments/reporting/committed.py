"""The committed results: their folder, and the layout of their JSON files."""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from ...envs.errors import UsageError
from ..runs.files import read_json, to_json
from ..runs.outputs import write_or_keep
from ..runs.provenance import provenance
from ..runs.run import Run

CHECKOUT = Path(__file__).parents[2]
RESULTS = CHECKOUT / "experiments" / "results"
KEPT = ("commit", "modified", "cpu", "device", "threads", "torch", "ale-py")
"""The fields of a provenance that a committed result keeps."""


def require_checkout(command: str, *, writes: bool = True) -> None:
    """Raise UsageError unless this is a checkout, whose documents and results can be written."""
    if not (CHECKOUT / "pyproject.toml").exists():
        raise UsageError(
            f"{command} works on the documents and results of a checkout, and {CHECKOUT} is an "
            "installed package; run it in a clone of the repository, installed by `pip install -e "
            ".`."
        )
    if writes and not os.access(RESULTS, os.W_OK):
        raise UsageError(
            f"{command} writes into {RESULTS}, which cannot be written; change its permissions or "
            "use another clone of the repository."
        )


def committed(pattern: str) -> list[Any]:
    """Return the contents of the committed files, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(pattern))]


def committed_results(kind: str) -> list[dict[str, Any]]:
    """Return the committed results of recipes of a kind, by name."""
    return [data for data in committed("*.json") if data["kind"] == kind]


def kept_provenance(run: Run) -> dict[str, Any]:
    """Return the fields of a run's provenance that a committed result keeps."""
    stored = read_json(run.folder / "provenance.json")
    return {name: stored[name] for name in KEPT}


def process_provenance() -> dict[str, Any]:
    """Return these fields of this process, which computes by one thread of the CPU."""
    found = provenance(torch.device("cpu"), 1)
    return {name: found[name] for name in KEPT}


def write_result(path: Path, data: Any) -> None:
    """Write a committed result, each innermost list on one line, and print its path."""
    text = to_json(data, indent=1)
    compact = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m.group().split()), text)
    write_or_keep(path, compact + "\n")
    print(f"wrote {path}")
