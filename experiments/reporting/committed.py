"""The committed results: their folder, and the layout of their JSON files."""

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"
PROVENANCE_FIELDS = ("commit", "modified", "cpu", "device", "threads", "torch", "ale-py")
"""Fields of a run's provenance that a committed result keeps."""


def compact_json(data: Any) -> str:
    """Return indented JSON with each innermost list on one line."""
    text = json.dumps(data, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m.group().split()), text) + "\n"
