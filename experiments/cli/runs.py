"""``reverie runs [DIR] [--flags]``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ...envs.atari.games import did_you_mean
from ...envs.errors import RunError, UsageError
from ..config.arguments import parse_flags
from ..integrity.tidying import delete_spare, find_spare
from ..reporting.run_list import (
    CUT_OFF,
    RunSummary,
    State,
    delete_run,
    ends,
    summarize_runs,
    table_rows,
)
from ..runs.files import to_json
from ..text.terminal_text import counted, file_size, paragraph, table


@dataclass(frozen=True)
class RunsOptions:
    """List the runs in a folder, tidy them, or delete them.

    Example: reverie runs runs --where env.game=pong --where n_step=3 --sort score
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Folder that holds runs."""
    where: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="SETTING=VALUE"), tyro.conf.UseAppendAction
    ] = ()
    """Only runs with this setting, named by the end of its dotted path; may be repeated."""
    state: State | Literal["any"] = "any"
    """Only runs in this state."""
    sort: Literal["name", "score", "size", "changed"] = "name"
    """Order of the list: best score, largest folder or newest first."""
    json: bool = False
    """Print the list as JSON."""
    tidy: bool = False
    """Delete what the listed runs no longer need, after a question: spare checkpoints of finished
    runs, and what killed processes have left. Every run can still be continued."""
    delete: bool = False
    """Delete the listed runs, after a question; runs in which a process works are kept."""
    yes: bool = False
    """Tidy or delete without a question."""


def run(argv: list[str]) -> int:
    """List runs, and tidy or delete them if asked."""
    options = parse_flags(RunsOptions, argv, "reverie runs")
    if options.tidy and (options.delete or options.json):
        raise UsageError("--tidy goes with neither --delete nor --json; give one of them.")
    if not options.folder.is_dir():
        raise UsageError(f"There is no folder {options.folder}; name one that holds runs.")
    conditions = [_condition(text) for text in options.where]
    every = summarize_runs(options.folder)
    names = {name for run in every for path in run.settings for name in ends(path)}
    for name, _ in conditions:
        if name not in names:
            hint = did_you_mean(name, names)
            raise UsageError(f"No run in {options.folder} has a setting {name}.{hint}")
    found = [
        run for run in every if run.matches(conditions) and options.state in ("any", run.state)
    ]
    found.sort(key=lambda run: _order(run, options.sort))
    if options.json:
        print(to_json([run.to_json() for run in found], indent=1))
    elif found:
        print(table(table_rows(found, options.folder), indent=0))
    total = f"{counted(len(found), 'run')}, {file_size(sum(x.size for x in found))}"
    if not options.json:
        print(f"{total}." if found else "No run has these settings.")
        if any(run.scores is None and run.score is not None for run in found):
            print("* mean of the last training episodes")
        if any(run.scores is not None and run.scores.num_capped for run in found):
            print(f"{CUT_OFF} truncated: episodes were cut off after --max-steps of the evaluation")
    if options.tidy:
        return _tidy([run for run in found if run.state in ("finished", "interrupted")], options)
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


def _tidy(runs: list[RunSummary], options: RunsOptions) -> int:
    """Delete what runs do not need if the user agrees; return 1 if a run could not be tidied."""
    found = [find_spare(run.folder, finished=run.state == "finished") for run in runs]
    found = [spare for spare in found if spare.files]
    if not found:
        print("No file of them is spare.")
        return 0
    rows = [("files", "MB", "run")]
    for spare in found:
        name = str(spare.folder.relative_to(options.folder))
        rows.append((f"{len(spare.files):,}", f"{spare.size / 1e6:,.1f}", name))
    print(f"\n{table(rows, indent=0)}")
    num_files, size = sum(len(x.files) for x in found), sum(x.size for x in found)
    what = f"{counted(num_files, 'spare file')}, {file_size(size)}"
    if not _agrees(f"Delete {what}? [y/N] ", yes=options.yes):
        return 0
    status = 0
    for spare in found:
        try:
            delete_spare(spare)
        except RunError as error:
            print(paragraph(str(error)), file=sys.stderr)
            status = 1
    if not status:
        print(paragraph(f"Deleted {what}."))
    return status


def _delete(runs: list[RunSummary], *, yes: bool) -> None:
    """Delete runs if the user agrees."""
    if _agrees(f"Delete {len(runs)} of them for ever? [y/N] ", yes=yes):
        for run in runs:
            if left := delete_run(run):
                text = f"{run.folder} stays, as it holds what the run has not written: "
                print(paragraph(f"{text}{', '.join(left)}."))
        print(paragraph(f"Deleted {counted(len(runs), 'run')}."))


def _agrees(question: str, *, yes: bool) -> bool:
    """Return whether the user agrees; raises UsageError if nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("Nothing was deleted, as nobody can be asked here; add --yes.")
    if input(question).strip().lower() in ("y", "yes"):
        return True
    print("Nothing was deleted.")
    return False
