"""Tables of the documents as Markdown, with footnotes that several rows may share."""

from collections.abc import Iterable


class Footnotes:
    """Notes below a table, each with a letter that marks the rows it is about."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def marked(self, text: str, notes: Iterable[str]) -> str:
        """Return a text with the letters of its notes."""
        letters = [self.letters.setdefault(x, chr(ord("a") + len(self.letters))) for x in notes]
        return f"{text} <sup>{', '.join(letters)}</sup>" if letters else text

    @property
    def lines(self) -> str:
        """The notes, a line each."""
        return "\n".join(f"- <sup>{letter}</sup> {note}" for note, letter in self.letters.items())


def markdown_table(header: str, rows: Iterable[list[str]], *notes: str) -> str:
    """Return a table whose header is written with its bars, and paragraphs below it."""
    lines = [f"| {header} |", "|---" * (header.count(" | ") + 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for note in filter(None, notes):
        lines += ["", note]
    return "\n".join(lines) + "\n"


def unmeasured(header: str, recipe: str) -> str:
    """Return a table whose only row has the command that fills it."""
    columns = header.count(" | ") + 1
    return markdown_table(
        header, [["not measured yet", f"`reverie reproduce {recipe}`", *[""] * (columns - 2)]]
    )
