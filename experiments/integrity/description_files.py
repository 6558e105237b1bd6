"""Checks of the JSON files of a run: its config, provenance and results."""

import errno
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..runs.files import check_format, open_own, read_json, read_own, to_json
from ..runs.jsonl import Mark
from ..runs.run import Run
from ..runs.scores import Scores
from ..sessions.driver import FINISHED_FILE, MAX_DIGITS
from .findings import Finding, set_aside, unreadable

SAME_COMMAND = "Set aside, it is written again by the same command that trained the run."


def check_descriptions(run: Run, marks: dict[str, Mark], step: int) -> Iterator[Finding]:
    """Yield what is wrong with the JSON files, given the marks of the newest checkpoint."""
    for name in ("config.json", "provenance.json"):
        path = run.folder / name
        if not path.exists():
            yield Finding(
                f"{path} is missing; the same command that trained the run writes it again."
            )
            continue
        try:
            damage = _damage_of_description(run, name, marks, step)
        except OSError as error:
            yield unreadable(path, error)
            continue
        if damage:
            text = f"{path} {damage}. {SAME_COMMAND}"
            yield Finding(text, partial(set_aside, path))
    for path in sorted(run.folder.glob("*.json")):
        if path.name not in ("config.json", "provenance.json"):
            yield from _check_result(path)


def check_end(run: Run, step: int) -> Iterator[Finding]:
    """Yield a finding if a finished run does not have the checkpoint of its end."""
    path = run.folder / FINISHED_FILE
    try:
        content = read_own(path, MAX_DIGITS) if os.path.lexists(path) else None
    except OSError as error:
        yield unreadable(path, error)
        return
    if content not in (None, b"%d" % step):
        text = content[:12].decode(errors="replace") if content else "nothing"
        yield Finding(
            f"{path} says that training ended at {text}, and the newest whole checkpoint is that "
            f"of {step:,}; the same command trains from there.",
        )


def _damage_of_description(run: Run, name: str, marks: dict[str, Mark], step: int) -> str:
    """Return a clause about what is wrong with the config or the provenance, or an empty text."""
    path = run.folder / name
    try:
        data = _read(path)
        if name == "config.json":
            check_format(path, data.get("format"), "train again in another folder")
    except UsageError as error:
        return str(error).removeprefix(f"{path} ").rstrip(".")
    if name in marks and run.mark_descriptions(step).get(name) != marks[name]:
        return "has other content than its newest checkpoint was written with"
    if name == "provenance.json":
        try:
            last = data["sessions"][-1]
            same = all(data[x] == last[x] for x in last if x not in ("from_step", "modified"))
        except (LookupError, TypeError):
            return "lacks its sessions"
        return "" if same else "differs from its last session"
    return ""


def _check_result(path: Path) -> Iterator[Finding]:
    scores = path.stem.split("-")[0] == "scores"
    again = "`reverie evaluate` writes it again" if scores else "what wrote it writes it again"
    try:
        data = _read(path)
        if scores and not _agrees(Scores.from_json(data).to_json(), data):
            raise ValueError("its mean or another result does not follow from its episodes")
    except OSError as error:
        yield unreadable(path, error)
    except (UsageError, ValueError) as error:
        text = str(error).removeprefix(f"{path} ").rstrip(".")
        yield Finding(f"{path} is damaged ({text}); {again}.", partial(set_aside, path))


def _agrees(computed: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Return whether results as they are computed equal the stored ones, up to JSON's types."""
    computed = json.loads(to_json(computed))
    return all(stored[name] == x for name, x in computed.items() if name in stored)


def _read(path: Path) -> dict[str, Any]:
    """Read an own JSON file; raises UsageError for another content, and OSError for a link.

    OSError, too, if the disk does not give the file: its content may be as it was written.
    """
    open_own(path, "rb").close()
    try:
        return read_json(path)
    except UsageError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno != errno.EOVERFLOW:
            raise error.__cause__ from None
        raise
