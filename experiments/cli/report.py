"""``reverie report DIR ... [--flags]``."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.errors import UsageError
from ..config.arguments import parse_flags, take_imports
from ..reporting.report import write_report
from ..verdicts.verdict_rule import Delta, Score


@dataclass(frozen=True)
class ReportOptions:
    """What a report compares, and where it is written."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Run folders, or folders that hold some."""
    out: Path | None = None
    """The HTML file; the Markdown file and its figures are written beside it. By default
    report.html in the folder that holds the runs."""
    baseline: str = ""
    """Name of the run folder whose variant the others are compared with; by default the variant
    with the fewest settings, such as the one without a bonus."""
    stochastic: bool = False
    """Compare the scores of agents that acted as in training."""
    score: Score | None = None
    """Score that verdicts compare: the final evaluation, the last 100 training episodes or all of
    them; by default that of the grid's rule, or the evaluation."""
    delta: str = ""
    """Largest difference that does not matter: a share of the baseline's mean such as 25%, or a
    number of points such as 0.5; by default that of the grid's rule, or 25%."""


def run(argv: list[str]) -> int:
    """Write a report of runs as HTML and Markdown."""
    argv, _ = take_imports(argv)
    options = parse_flags(ReportOptions, argv, "reverie report")
    if not options.folders:
        raise UsageError("Name run folders, or folders that hold some, as in reverie report runs.")
    for path in options.folders:
        if path.is_file():
            raise UsageError(f"{path} is a file, and no folder of runs.")
    out = options.out or _common_folder(options.folders) / "report.html"
    path = write_report(
        [*options.folders],
        out,
        options.baseline,
        stochastic=options.stochastic,
        score=options.score,
        delta=Delta.parse(options.delta) if options.delta else None,
    )
    print(f"wrote {path} and {path.with_suffix('.md')}")
    return 0


def _common_folder(folders: tuple[Path, ...]) -> Path:
    """Return the folder that holds all runs in these folders, and is no run itself."""
    common = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    common = common.parent if (common / "config.json").exists() else common
    return Path(os.path.relpath(common))
