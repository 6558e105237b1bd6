"""``reverie runs [DIR] [--flags]``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ...envs.errors import UsageError
from ..config.arguments import parse_flags
from ..reporting.run_list import RunSummary, State, delete_run, summarize_runs, table_rows
from ..runs.files import to_json
from ..runs.terminal_text import paragraph, table


@dataclass(frozen=True)
class RunsOptions:
    """List the runs in a folder, or delete them.

    Example: reverie runs runs --where env.game=pong --where n_step=3 --sort score
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Folder that holds runs."""
    where: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="SETTING=VALUE"), tyro.conf.UseAppendAction
    ] = ()
    """Only runs with this setting, named by the end of its dotted path; may be repeated."""
    state: State | None = None
    """Only runs in this state."""
    sort: Literal["name", "score", "size", "changed"] = "name"
    """Order of the list: best score, largest folder or newest first."""
    json: bool = False
    """Print the list as JSON."""
    delete: bool = False
    """Delete the listed runs, after a question; runs in which a process works are kept."""
    yes: bool = False
    """Delete without a question."""


def run(argv: list[str]) -> int:
    """List runs, and delete them if asked."""
    options = parse_flags(RunsOptions, argv, "reverie runs")
    if not options.folder.is_dir():
        raise UsageError(f"There is no folder {options.folder}; name one that holds runs.")
    conditions = [_condition(text) for text in options.where]
    found = [
        run
        for run in summarize_runs(options.folder)
        if run.matches(conditions) and options.state in (None, run.state)
    ]
    found.sort(key=lambda run: _order(run, options.sort))
    if options.json:
        print(to_json([run.to_json() for run in found], indent=1))
    elif found:
        print(table(table_rows(found, options.folder), indent=0))
    total = f"{len(found)} run{'s' * (len(found) != 1)}, {sum(x.size for x in found) / 1e6:,.1f} MB"
    if not options.json:
        print(f"{total}." if found else "No run has these settings.")
        if any(run.scores is None and run.score is not None for run in found):
            print("* mean of the last training episodes")
    if options.delete and found:
        _delete([run for run in found if run.state != "running"], yes=options.yes)
    return 0


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--where is '{text}'; give SETTING=VALUE, as in n_step=3.")
    return name.replace("-", "_"), value


def _order(run: RunSummary, key: str) -> tuple[float, str]:
    values = {
        "name": 0.0,
        "score": -best if (best := run.score) is not None else float("inf"),
        "size": -float(run.size),
        "changed": -run.changed,
    }
    return values[key], str(run.folder)


def _delete(runs: list[RunSummary], *, yes: bool) -> None:
    """Delete runs if the user agrees; raises UsageError if nobody can be asked."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("Nothing was deleted, as nobody can be asked here; add --yes.")
        question = f"Delete {len(runs)} of them for ever? [y/N] "
        if input(question).strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.")
            return
    for run in runs:
        delete_run(run)
    print(paragraph(f"Deleted {len(runs)} runs."))
