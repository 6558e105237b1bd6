"""What a check has found in a folder, and how it is repaired without deleting a good byte."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..runs.disk_errors import describe, remedy
from ..runs.run import UNREADABLE
from .tidying import partial_files

MAX_NAMED = 3
"""Names of files in one sentence."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written."""

    text: str
    """One or more sentences, which name the file."""
    repair: Callable[[], str] | None = None
    """Repairs it, and returns a sentence about what was done."""
    harmless: bool = False
    """Whether nothing is lost, as of files that nobody needs."""


@dataclass
class Report:
    """All findings in one folder."""

    folder: Path
    kind: str
    findings: list[Finding] = field(default_factory=list)
    contents: str = ""
    """What was read, as a clause without a verb."""
    outlook: str = ""
    """A sentence about how training continues; empty of a recording."""

    @property
    def damages(self) -> list[Finding]:
        """The findings that are not harmless."""
        return [x for x in self.findings if not x.harmless]


def unreadable(path: Path, error: OSError) -> Finding:
    """Return the finding that the disk, or a right, denies a file; it is left as it is."""
    return Finding(f"{describe(error, path)}; {remedy(error)}.")


def set_aside(path: Path) -> str:
    """Rename a damaged file to a name that is free, and return a sentence."""
    new, number = path.with_name(path.name + UNREADABLE), 1
    while new.exists() or new.is_symlink():
        number += 1
        new = path.with_name(f"{path.name}{UNREADABLE}-{number}")
    path.rename(new)
    return f"{path.name} was renamed to {new.name}."


def find_partial_files(folder: Path) -> Iterator[Finding]:
    """Yield a finding if killed processes have left partly written files."""
    found = partial_files(folder)

    def remove() -> str:
        for path in found:
            path.unlink(missing_ok=True)
        return f"{count(len(found), 'partly written file')} removed."

    if found:
        text = f"{count(len(found), 'partly written file')} of a killed process: {names(found)}."
        yield Finding(text, remove, harmless=True)


def find_aside(folder: Path) -> Iterator[Finding]:
    """Yield a finding about what was set aside before."""
    places = (folder, folder / "checkpoints")
    found = [x for place in places if place.is_dir() for x in place.glob(f"*{UNREADABLE}*")]
    if found:
        yield Finding(f"Set aside as unreadable: {names(sorted(found))}.", harmless=True)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if it is not one."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def names(paths: Iterable[Path]) -> str:
    """Return the names of the first files, and the number of the others."""
    all_names = [path.name for path in paths]
    more = len(all_names) - MAX_NAMED
    shown = ", ".join(all_names[:MAX_NAMED])
    return f"{shown} and {more:,} more" if more > 0 else shown
