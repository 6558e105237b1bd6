"""Checks of what grows beside the checkpoints: .jsonl files and TensorBoard's events."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..runs.files import own_files, write_file
from ..runs.jsonl import Mark, is_intact, iterate_lines, parse_row
from ..runs.run import EVENT_NAME, REQUIRED_FIELDS, UNREADABLE, Run
from .event_records import read_events, read_pieces
from .findings import Finding, count, unreadable


def check_rows(run: Run, marks: dict[str, Mark]) -> Iterator[Finding]:
    """Yield what is wrong with the .jsonl files, given the marks of the newest checkpoint."""
    for name, required in REQUIRED_FIELDS.items():
        path = run.folder / name
        try:
            lost = _lost(path, marks.get(name))
            total, bad, back, last = 0, 0, 0, 0
            for line in iterate_lines(path):
                row, total = parse_row(line, required), total + 1
                step = row["step"] if row else last
                bad, back, last = bad + (row is None), back + (step < last), step
        except OSError as error:
            yield unreadable(path, error)
            continue
        if bad:
            yield Finding(
                f"{bad:,} of the {count(total, 'line')} of {path} cannot be read.",
                partial(_keep_readable, run, name),
            )
        if lost:
            yield Finding(lost)
        if back:
            yield Finding(f"The steps of {path} go back at {count(back, 'row')}.")


def check_events(run: Run, marks: dict[str, Mark]) -> Iterator[Finding]:
    """Yield what is wrong with TensorBoard's files; the CRCs of what a mark covers are not read."""
    found = {path.name for path in own_files(run.folder, EVENT_NAME)}
    for name in sorted(found | {name for name in marks if EVENT_NAME.fullmatch(name)}):
        path = run.folder / name
        try:
            lost = _lost(path, marks.get(name))
            data = read_events(path) if name in found else b""
        except OSError as error:
            yield unreadable(path, error)
            continue
        start = 0 if lost or name not in marks else int(marks[name]["size"])
        pieces = list(read_pieces(data, start))
        if bad := sum(end - begin for begin, end, whole in pieces if not whole):
            yield Finding(
                f"{path} has {count(bad, 'byte')} outside whole events, and TensorBoard stops "
                "there.",
                partial(_keep_events, path),
            )
        if lost:
            yield Finding(lost)


def _lost(path: Path, mark: Mark | None) -> str:
    """Return a sentence if a file does not begin with what was marked, else an empty text."""
    if mark is None or is_intact(path, mark):
        return ""
    size, marked = path.lstat().st_size if path.exists() else 0, int(mark["size"])
    what = "has other content than"
    if not path.exists():
        what = f"is missing, with {count(marked, 'byte')} that"
    elif size < marked:
        what = f"has lost {count(marked - size, 'byte')} that"
    return (
        f"{path} {what} {'was' if 'than' in what else 'were'} written before its newest "
        "checkpoint; its curves have a gap, and training is not affected."
    )


def _keep_readable(run: Run, name: str) -> str:
    return run.keep_readable(name, sys.maxsize)


def _keep_events(path: Path) -> str:
    """Keep the whole records of a file; add the rest to the file of unreadable ones beside it."""
    data = read_events(path)
    pieces = list(read_pieces(data))
    kept, rest = (
        b"".join(data[begin:end] for begin, end, whole in pieces if whole is wanted)
        for wanted in (True, False)
    )
    # TensorBoard reads every file that has the word tfevents in its name.
    aside = path.with_name(f"events-{path.name.rpartition('tfevents.')[2]}{UNREADABLE}")
    before = read_events(aside) if aside.exists() else b""
    write_file(aside, before + rest)
    write_file(path, kept)
    return f"{count(len(rest), 'byte')} of {path.name} moved to {aside.name}."
