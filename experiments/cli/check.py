"""``reverie check RUN [--repair]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.errors import FolderBusy, RunError
from ..config.arguments import parse_flags, take_imports
from ..integrity.findings import Report, count
from ..integrity.integrity import check_folder, find_folders, repair_folder
from ..text.terminal_text import paragraph, plain, table


@dataclass(frozen=True)
class CheckOptions:
    """Verify every file of a run or a recording, and say what is lost.

    Example: reverie check runs/catch --repair
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run, a recording, or a folder that holds many."""
    repair: bool = False
    """Restore blocks, set damaged files aside, and remove partly written ones. No good byte is
    deleted."""


def run(argv: list[str]) -> int:
    """Check folders; return 1 if a damage was found, or is left after the repair."""
    argv, _ = take_imports(argv)
    options = parse_flags(CheckOptions, argv, "reverie check")
    folders = find_folders(options.folder)
    alone = folders == [options.folder]
    rows, status, damaged = [("state", "kind", "contents", "folder")], 0, False
    for folder in folders:
        try:
            report, done = (
                repair_folder(folder) if options.repair else (check_folder(folder), list[str]())
            )
        except (FolderBusy, RunError) as error:
            if alone:
                raise
            rows.append(("not checked", "", str(error), _name(folder, options.folder)))
            status = 1
            continue
        found = report.damages
        state = count(len(found), "damage") if found else "whole"
        rows.append((state, report.kind, report.contents, _name(folder, options.folder)))
        if alone or report.findings or done:
            print(_text(report, done) + "\n" * (not alone))
        status, damaged = status or bool(found), damaged or any(x.repair for x in report.findings)
    if not alone:
        print(plain(table(rows, indent=0)))
    if damaged:
        print(paragraph(plain("Add --repair to mend what can be mended.")))
    return int(status)


def _name(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root)) if folder != root else str(root)


def _text(report: Report, done: list[str]) -> str:
    """Return what was found in a folder, in lines that fit the terminal."""
    found = report.damages
    state = f"is damaged in {count(len(found), 'place')}" if found else "is whole"
    lines = [f"Repaired: {text}" for text in done]
    lines.append(f"{report.folder} {state}: {report.contents}".rstrip(": ") + ".")
    text = [paragraph(plain(line)) for line in lines]
    text += [f"- {paragraph(plain(x.text), indent=2).lstrip()}" for x in report.findings]
    if report.outlook:
        text.append(paragraph(plain(report.outlook)))
    return "\n".join(text)
