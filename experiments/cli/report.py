"""``reverie report DIR ... [--flags]``."""

from dataclasses import dataclass
from pathlib import Path

from ...envs.errors import UsageError
from ..config.arguments import parse_flags
from ..reporting.report import write_report


@dataclass(frozen=True)
class ReportOptions:
    """Where a report is written, and what it compares."""

    out: Path = Path("report.html")
    """The HTML file; the Markdown file and its figures are written beside it."""
    baseline: str = ""
    """Name of the run folder whose variant the others are compared with; by default the variant
    with the fewest settings, such as the one without a bonus."""
    stochastic: bool = False
    """Compare the scores of agents that acted as in training."""


def run(argv: list[str]) -> int:
    """Write a report of runs as HTML and Markdown."""
    folders = []
    while argv and not argv[0].startswith("-"):
        folders.append(Path(argv.pop(0)))
    options = parse_flags(ReportOptions, argv, "reverie report DIR ...")
    if not folders:
        raise UsageError("Name run folders, or folders that hold some.")
    try:
        path = write_report(folders, options.out, options.baseline, stochastic=options.stochastic)
    except OSError as error:
        raise UsageError(
            f"The report cannot be written ({error}); name another file with --out."
        ) from error
    print(f"wrote {path} and {path.with_suffix('.md')}")
    return 0
