"""A document as a list of blocks, written as one self-contained HTML file and as Markdown.

The text of all blocks but ``Element`` is escaped in this module. Figures, videos and files are
embedded in the HTML, which loads nothing from the network.
"""

import base64
import errno
import mimetypes
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from ..runs.files import write_file

STYLE = Path(__file__).with_suffix(".css")


class Chip(str):
    """A highlighted label, such as a verdict."""


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Table:
    header: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass(frozen=True)
class Media:
    """A figure, a video or a file to download, by the suffix of its name."""

    name: str
    data: bytes = field(repr=False)
    caption: str
    wide: bool = False
    """Whether it takes the width of the page."""

    @property
    def mime(self) -> str:
        return str(mimetypes.guess_type(self.name)[0])


@dataclass(frozen=True)
class Element:
    """HTML of the caller's, which is written as it is, and which Markdown leaves out."""

    html: str = field(repr=False)


Block = Heading | Paragraph | Table | Media | Element


def to_html(title: str, blocks: list[Block]) -> str:
    """Return the document as one HTML file without external resources."""
    headings = [block.text for block in blocks if isinstance(block, Heading)]
    links = "".join(f'<a href="#{_anchor(text)}">{escape(text)}</a>' for text in headings)
    body, style = "\n".join(map(_html, blocks)), STYLE.read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><div><h1>{escape(title)}</h1><nav>{links}</nav></div></header>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def write_markdown(path: Path, title: str, blocks: list[Block]) -> None:
    """Write the document as Markdown, and its media and files into ``STEM_files`` beside it.

    Raises OSError if that is a link: nothing is written through it.
    """
    files = path.with_name(f"{path.stem}_files")
    if files.is_symlink():
        raise OSError(errno.ELOOP, "a link to another place", str(files))
    for block in blocks:
        if isinstance(block, Media):
            write_file(files / block.name, block.data)
    paragraphs = [f"# {_escaped(title)}", *(_markdown(block, files.name) for block in blocks)]
    write_file(path, "\n\n".join(paragraphs) + "\n")


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f'<h2 id="{_anchor(block.text)}">{escape(block.text)}</h2>'
    if isinstance(block, Paragraph):
        css_class = ' class="warning"' if block.warning else ""
        return f"<p{css_class}>{escape(block.text)}</p>"
    if isinstance(block, Table):
        head = "".join(f"<th>{escape(text)}</th>" for text in block.header)
        rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"
        note = f'<p class="note">{escape(block.caption)}</p>' if block.caption else ""
        return f'<div class="wide">{table}</div>{note}'
    if isinstance(block, Element):
        return block.html
    data = f"data:{block.mime};base64,{base64.b64encode(block.data).decode()}"
    caption = escape(block.caption)
    if block.mime.startswith("video"):
        media = f'<video controls muted loop preload="metadata" src="{data}"></video>'
    elif block.mime.startswith("image"):
        media = f'<img alt="{caption}" src="{data}">'
    else:
        name = escape(block.name)
        return f'<p><a class="download" download="{name}" href="{data}">{caption}</a></p>'
    begin = '<figure class="whole">' if block.wide else "<figure>"
    return f"{begin}{media}<figcaption>{caption}</figcaption></figure>"


def _cell(text: str) -> str:
    chip = isinstance(text, Chip)
    inner = f'<span class="chip {_anchor(text)}">{escape(text)}</span>' if chip else escape(text)
    return f"<td>{inner}</td>"


def _markdown(block: Block, files: str) -> str:
    if isinstance(block, Heading):
        return f"## {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return f"> {_escaped(block.text)}" if block.warning else _escaped(block.text)
    if isinstance(block, Table):
        header, *rows = (map(_markdown_cell, row) for row in (block.header, *block.rows))
        lines = [header, ["---"] * len(block.header), *rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{table}\n\n{_escaped(block.caption)}" if block.caption else table
    if isinstance(block, Element):
        return ""
    image_mark = "!" if block.mime.startswith("image") else ""
    return f"{image_mark}[{_escaped(block.caption)}]({files}/{block.name})"


def _markdown_cell(text: str) -> str:
    return f"**{_escaped(text)}**" if isinstance(text, Chip) else _escaped(text)


def _escaped(text: str) -> str:
    escaped = escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)


def _anchor(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
