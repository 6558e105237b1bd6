"""A document as a list of blocks, written as one self-contained HTML file and as Markdown.

The text of all blocks is escaped in this module. Figures, videos and files are embedded in the
HTML, which loads nothing from the network.
"""

import base64
import html
import re
from dataclasses import dataclass, field
from pathlib import Path

MIME = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".mp4": "video/mp4",
    ".csv": "text/csv",
    ".json": "application/json",
}


class Chip(str):
    """A highlighted label, such as a verdict."""


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


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
    """A figure or a video; its name ends in .svg, .png or .mp4."""

    name: str
    data: bytes = field(repr=False)
    caption: str


@dataclass(frozen=True)
class Download:
    """A file to download."""

    name: str
    data: bytes = field(repr=False)
    text: str


@dataclass(frozen=True)
class Gallery:
    """Media side by side."""

    media: list[Media]


Block = Heading | Paragraph | Table | Media | Gallery | Download


def to_html(title: str, blocks: list[Block]) -> str:
    """Return the document as one HTML file without external resources."""
    headings = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<a href="#{_anchor(x.text)}">{html.escape(x.text)}</a>' for x in headings)
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><div><h1>{html.escape(title)}</h1><nav>{links}</nav></div></header>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def write_markdown(path: Path, title: str, blocks: list[Block]) -> None:
    """Write the document as Markdown, and its media and files into ``STEM_files`` beside it."""
    files = path.with_name(f"{path.stem}_files")
    lines = [f"# {_escaped(title)}", ""]
    for block in blocks:
        for item in block.media if isinstance(block, Gallery) else [block]:
            if isinstance(item, Media | Download):
                files.mkdir(parents=True, exist_ok=True)
                (files / item.name).write_bytes(item.data)
            lines += [_markdown(item, files.name), ""]
    path.write_text("\n".join(lines))


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        level = block.level
        return f'<h{level} id="{_anchor(block.text)}">{html.escape(block.text)}</h{level}>'
    if isinstance(block, Paragraph):
        css_class = ' class="warning"' if block.warning else ""
        return f"<p{css_class}>{html.escape(block.text)}</p>"
    if isinstance(block, Table):
        head = "".join(f"<th>{html.escape(text)}</th>" for text in block.header)
        rows = "\n".join(
            f"<tr>{''.join(f'<td{_css_class(x)}>{_cell(x)}</td>' for x in row)}</tr>"
            for row in block.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"
        note = f'<p class="note">{html.escape(block.caption)}</p>' if block.caption else ""
        return f'<div class="wide">{table}</div>{note}'
    if isinstance(block, Gallery):
        return f'<div class="gallery">{"".join(_html(item) for item in block.media)}</div>'
    mime = MIME[Path(block.name).suffix]
    data = f"data:{mime};base64,{base64.b64encode(block.data).decode()}"
    if isinstance(block, Download):
        return (
            f'<p><a class="download" download="{html.escape(block.name)}" href="{data}">'
            f"{html.escape(block.text)}</a></p>"
        )
    caption = html.escape(block.caption)
    media = (
        f'<video controls muted loop preload="metadata" src="{data}"></video>'
        if mime.startswith("video")
        else f'<img alt="{caption}" src="{data}">'
    )
    return f"<figure>{media}<figcaption>{caption}</figcaption></figure>"


def _cell(text: str) -> str:
    escaped = html.escape(text).replace("\n", "<br>")
    escaped = re.sub(
        r"(?<=[a-z])\.(?=[a-z])", ".<wbr>", escaped
    )  # allow line breaks in dotted paths
    if isinstance(text, Chip):
        return f'<span class="chip {_anchor(text)}">{escaped}</span>'
    return escaped


def _css_class(text: str) -> str:
    return ' class="number"' if re.match(r"^[-−+]?[\d.,]+(\D|$)", text) else ""


def _markdown(block: Block, files: str) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return f"> {_escaped(block.text)}" if block.warning else _escaped(block.text)
    if isinstance(block, Table):
        rows = [block.header, ["---"] * len(block.header), *block.rows]
        lines = ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in rows]
        return "\n".join(lines + (["", _escaped(block.caption)] if block.caption else []))
    if isinstance(block, Download):
        return f"[{_escaped(block.text)}]({files}/{block.name})"
    assert isinstance(block, Media)
    image_mark = "" if block.name.endswith(".mp4") else "!"
    return f"{image_mark}[{_escaped(block.caption)}]({files}/{block.name})"


def _markdown_cell(text: str) -> str:
    escaped = "---" if text == "---" else _escaped(text)
    return f"**{escaped}**" if isinstance(text, Chip) else escaped


def _escaped(text: str) -> str:
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)


def _anchor(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")


STYLE = """
:root { --ink: #1d2730; --soft: #5d6b78; --line: #e1e6ea; --paper: #fff; --ground: #f5f7f8;
  --accent: #1f6f8b; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--ground);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header { background: var(--paper); border-bottom: 1px solid var(--line); padding: 22px 0 14px; }
header div { max-width: 1240px; margin: 0 auto; padding: 0 32px; }
header h1 { margin: 0 0 8px; font-size: 24px; letter-spacing: -.01em; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
main { max-width: 1240px; margin: 0 auto; padding: 8px 32px 64px; }
h2 { margin: 34px 0 10px; font-size: 19px; padding-top: 6px; }
h3 { margin: 24px 0 8px; font-size: 16px; }
p { max-width: 92ch; margin: 8px 0; }
.warning { background: #fff6e0; border-left: 4px solid #e0a526; padding: 8px 14px;
  border-radius: 4px; }
.note, figcaption { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: 12.5px;
  vertical-align: bottom; background: #fafbfc; }
th, td { padding: 7px 12px; border-bottom: 1px solid var(--line); }
td { vertical-align: top; overflow-wrap: anywhere; min-width: 6.5em; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: #f8fafb; }
.number { white-space: nowrap; }
.chip { display: inline-block; padding: 1px 10px; border-radius: 999px; font-weight: 600;
  white-space: nowrap; background: #e9edf0; color: #46525d; }
.helps { background: #d9f2e1; color: #14653a; } .hurts { background: #fbdcd8; color: #8f2318; }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 16px;
  align-items: start; }
figure { margin: 0; background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px; }
figure img, figure video { display: block; max-width: 100%; margin: 0 auto; }
figure video { max-height: 360px; }
figcaption { margin-top: 8px; }
.download { display: inline-block; padding: 6px 14px; border: 1px solid var(--accent);
  border-radius: 6px; }
@media (max-width: 640px) { header div, main { padding-left: 14px; padding-right: 14px; }
  .gallery { grid-template-columns: 1fr; } }
@media print { body { background: #fff; } .wide { overflow: visible; } }
"""
