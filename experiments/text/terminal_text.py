"""Text that fits the terminal: paragraphs, and lists of names with their descriptions."""

import io
import shutil
import textwrap
from collections.abc import Sequence

MAX_WIDTH = 100
"""Columns of text on a wider terminal."""
MIN_ROOM = 24
"""Columns beside the first column of a table, in which its other cells can be read."""


def width() -> int:
    """Return the columns of text: those of the terminal, of ``COLUMNS``, or 80."""
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)


def plain(text: str) -> str:
    """Return a text with its commands in quotation marks instead of Markdown's backticks.

    Control characters, which a file from elsewhere may have in its names, are left out.
    """
    return printable(text.replace("`", "'"))


def printable(text: str) -> str:
    """Return a text without control characters, which could rule the terminal."""
    return "".join(x for x in text if x.isprintable() or x == "\n")


def counted(count: int, noun: str) -> str:
    """Return a number of things, as in 1 trial or 2 trials."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def paragraph(text: str, indent: int = 0) -> str:
    """Return a text in lines that fit the terminal; paths, commands and flags are not broken."""
    space = " " * indent
    return textwrap.fill(
        text,
        width(),
        initial_indent=space,
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
    )


def message(text: str, *, terminal: bool) -> str:
    """Return a sentence for people, which a terminal gets as a paragraph and a file as one line."""
    return paragraph(text) if terminal else text


def description_list(rows: Sequence[tuple[str, str]], indent: int = 2) -> str:
    """Return (name, description) rows in two columns; long descriptions are continued below."""
    rows = [(printable(name), printable(text)) for name, text in rows]
    start = indent + max((len(name) for name, _ in rows), default=0) + 2
    return "\n".join(
        textwrap.fill(
            text,
            max(width(), start + 20),
            initial_indent=f"{' ' * indent}{name}".ljust(start),
            subsequent_indent=" " * start,
            break_on_hyphens=False,
        )
        or f"{' ' * indent}{name}"
        for name, text in rows
    )


def file_size(num_bytes: int) -> str:
    """Return a number of bytes as a text: 3.4 MB, 120.5 kB or 12 bytes."""
    small = f"{num_bytes / 1e3:,.1f} kB" if num_bytes >= 1000 else f"{num_bytes} bytes"
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else small


def table(rows: Sequence[Sequence[str]], indent: int = 2) -> str:
    """Return rows of equal length in aligned columns that fit the terminal.

    Cells of all columns but the first are continued below where they must be, long words too. If
    those of the first leave less than ``MIN_ROOM`` for the others, each is on a line of its own.
    """
    cells = [[*map(printable, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rest = sum(widths[1:]) + 2 * len(widths) - 2
    room = width() - indent - widths[0]
    if room < min(rest, MIN_ROOM) and indent + rest <= width():
        lines = list[str]()
        for name, *others in cells:
            under = "".join(f"  {x.ljust(n)}" for x, n in zip(others, widths[1:], strict=True))
            lines += [" " * indent + x.rstrip() for x in (name, under)]
        return "\n".join(lines)
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for k in range(len(rows[0])):
        grid.add_column(no_wrap=k == 0, overflow="fold" if k else "ellipsis")
    for row in cells:
        grid.add_row(*row)
    text = io.StringIO()
    console = Console(file=text, width=width(), markup=False, highlight=False, color_system=None)
    console.print(Padding(grid, (0, 0, 0, indent)))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
