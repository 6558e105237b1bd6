"""What differs between two runs: settings, code, scores, and the learning curve at equal steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config.roles import part_name
from ..config.serialization import with_defaults
from ..runs.config_differences import flatten
from ..runs.files import read_json
from ..runs.names import unique_names
from ..runs.run import Run
from ..runs.scores import Scores, find_scores, scores_file
from ..text.formatting import format_number, with_error
from ..verdicts.intervals import Array, trailing_mean
from .run_results import WINDOW

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Points of the learning curve, as shares of the steps that both runs have."""
Row = tuple[str, str, str]
Curve = tuple[Array, Array]
SOURCES = ("commit", "package_hash", "torch", "device", "threads", "precision")
"""Fields of provenance that are compared."""


def compare_runs(folders: tuple[Path, Path]) -> list[list[Row]]:
    """Return tables of what differs, a row for each name with both values, below a header.

    What only one run has is ``-`` in the other's column. Raises UsageError for a folder that is no
    run.
    """
    runs = [Run(folder) for folder in folders]
    names = unique_names(folders)
    configs = [flatten(with_defaults(run.config()), part_name) for run in runs]
    tables: list[list[Row]] = [
        [("setting", names[folders[0]], names[folders[1]]), *_differences(*configs)],
        [("made by", "", ""), *_differences(*map(_provenance, runs))],
        [("evaluation", "", ""), *_scores(runs)],
        [(f"mean of {WINDOW} episodes", "", ""), *_curve_rows(*map(_curve, runs))],
    ]
    return [table for table in tables if len(table) > 1]


def _provenance(run: Run) -> dict[str, Any]:
    path = run.folder / "provenance.json"
    data = read_json(path) if path.exists() else {}
    return {name: data.get(name) for name in SOURCES}


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[Row]:
    """Return the entries that differ; of different parts not their settings."""
    paths = [x for x in dict.fromkeys([*a, *b]) if a.get(x) != b.get(x)]
    return [
        (path or "class", str(a.get(path, "-")), str(b.get(path, "-")))
        for path in paths
        if not any(path != part and f"{path}.".startswith(f"{part}.") for part in paths)
    ]


def _scores(runs: Sequence[Run]) -> list[Row]:
    """Return the scores under the runs' own protocols, and those if they differ."""
    a, b = (find_scores(run.folder / scores_file(stochastic=False)) for run in runs)
    rows = [("mean score", *(_score_text(x) for x in (a, b)))] if a or b else []
    if a and b and a.conditions != b.conditions:
        rows.append(("played", a.conditions, b.conditions))
    if (a and a.resumes) or (b and b.resumes):
        resumes = (", ".join(x.resumes) if x and x.resumes else "-" for x in (a, b))
        rows.append(("continued inexactly", *resumes))
    return [(name, x, y) for name, x, y in rows]


def _score_text(scores: Scores | None) -> str:
    if scores is None:
        return "-"
    text = f"{with_error(scores.mean, scores.standard_error)}, {scores.episodes} episodes"
    if cut := scores.num_capped:
        text += f", {cut} of them truncated after --max-steps {scores.max_steps:,}"
    return text


def _curve(run: Run) -> Curve:
    """Return the steps at which training episodes ended, and the mean of the last ones."""
    (steps, scores), _ = run.read_columns("episodes.jsonl", "step", "score")
    return steps, trailing_mean(scores, WINDOW)


def _curve_rows(a: Curve, b: Curve) -> list[Row]:
    if not (len(a[0]) and len(b[0])):
        return []
    steps = [round(share * min(a[0][-1], b[0][-1])) for share in SHARES]
    rows = [(f"step {step:,}", _at(a, step), _at(b, step)) for step in steps]
    return [row for row in rows if row[1:] != ("-", "-")]


def _at(curve: Curve, step: float) -> str:
    steps, means = curve
    index = int(np.searchsorted(steps, step, side="right"))
    return format_number(float(means[index - 1])) if index else "-"
