"""A film's image of a view: the main pictures, and the drawings of the panels in columns."""

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageColor, ImageDraw

from ..evaluation.drawn_text import font, wrap
from ..evaluation.images import fit
from ..evaluation.video import Image
from ..inspectors.panels import Picture, View
from .drawing import LINE, WIDTH, Box, Drawing, Line, PlacedImage, Text, draw

FILM_WIDTH, FILM_HEIGHT = 1280, 720
MARGIN, GAP, PADDING = 16, 10, 10
CARD = int(WIDTH) + 2 * PADDING
"""Width of a panel with its background."""
MIN_SCALE = 0.8
"""Of cards in one column: smaller text is hard to read."""
STYLE_SHEET = Path(__file__).parent / "page" / "page.css"


@lru_cache
def palette() -> dict[str, str]:
    """Return the page's colors in the dark by name, from its style sheet."""
    return dict(
        re.findall(r"--(\w+): light-dark\(#\w+, (#\w+)\)", STYLE_SHEET.read_text(encoding="utf-8"))
    )


class Film:
    """Renders the views of a session, each panel in a card as high as it has been so far.

    So a card that is a line shorter for a moment moves nothing.
    """

    def __init__(self) -> None:
        self.heights: dict[int, int] = {}
        """Of the cards, by the number of the panel."""

    def render(self, view: View, caption: str) -> Image:
        """Render a view as an RGB image with a caption; panels that do not fit are left out.

        The panels are beside one main picture, and below several. Beside a picture they are in one
        column, a little smaller if need be, and only many of them in two.
        """
        image = Pillow.new("RGB", (FILM_WIDTH, FILM_HEIGHT), palette()["background"])
        canvas, bottom = _Canvas(image), FILM_HEIGHT - 36
        top = canvas.banner(view.untrained, MARGIN)
        drawings = [draw(panel) for panel in view.panels]
        for i, drawing in enumerate(drawings):
            height = int(drawing.height) + 2 * PADDING
            self.heights[i] = max(height, self.heights.get(i, 0))
        scale = 1.0
        if len(view.pictures) > 1 or not drawings:
            columns, left, width = 3, MARGIN, FILM_WIDTH - 2 * MARGIN
            height = (bottom - top) * 3 // 5 if drawings else bottom - top
            top = canvas.pictures(view.pictures, top, width, height) + GAP
        else:
            room = FILM_HEIGHT - MARGIN - top
            total = sum(self.heights[i] + GAP for i in range(len(drawings))) - GAP
            columns = 1 if room >= MIN_SCALE * total else 2
            scale = min(1.0, room / total) if columns == 1 else 1.0
            left = FILM_WIDTH - MARGIN - columns * (CARD + GAP) + GAP
            canvas.pictures(view.pictures, top, left - MARGIN - 2 * GAP, bottom - top)
            bottom = FILM_HEIGHT - MARGIN  # of the cards, which are beside the caption
        tops = [float(top)] * columns
        for i, drawing in enumerate(drawings):
            column, height = min(range(columns), key=tops.__getitem__), self.heights[i]
            if round(tops[column] + scale * height) <= bottom:
                card = _draw_card(drawing, height)
                if scale < 1:
                    size = int(scale * CARD), int(scale * height)
                    card = card.resize(size, Pillow.Resampling.LANCZOS)
                image.paste(card, (left + column * (CARD + GAP), round(tops[column])))
                tops[column] += scale * (height + GAP)
        canvas.text(MARGIN, FILM_HEIGHT - 14, caption, "text")
        return np.asarray(image)


def render_view(view: View, caption: str) -> Image:
    """Render a single view as an RGB image, as ``Film`` does."""
    return Film().render(view, caption)


def _draw_card(drawing: Drawing, height: int) -> Pillow.Image:
    """Draw a panel on its background."""
    image = Pillow.new("RGB", (CARD, height), palette()["background"])
    _Canvas(image).card(drawing, height)
    return image


class _Canvas:
    """Draws on an image in the page's colors."""

    def __init__(self, image: Pillow.Image) -> None:
        self.image, self.canvas = image, ImageDraw.Draw(image)

    def text(self, x: float, y: float, text: str, style: str, anchor: str = "start") -> None:
        """Draw a text whose baseline is at y."""
        color = palette()["text" if style == "title" else style]
        anchors = {"start": "ls", "middle": "ms", "end": "rs"}
        self.canvas.text((x, y), text, color, font(style == "title"), anchor=anchors[anchor])

    def paste(self, image: Image, x: float, y: float, width: float, height: float) -> None:
        """Draw an image with sharp pixels."""
        rgb = Pillow.fromarray(np.ascontiguousarray(image)).convert("RGB")
        size = max(1, round(width)), max(1, round(height))
        self.image.paste(rgb.resize(size, Pillow.Resampling.NEAREST), (round(x), round(y)))

    def banner(self, reasons: tuple[str, ...], top: int) -> int:
        """Draw why parts are untrained, if any, and return the top of what comes below."""
        if not reasons:
            return top
        lines = wrap(f"UNTRAINED: {' '.join(reasons)}", FILM_WIDTH - 2 * MARGIN - 2 * PADDING)
        bottom = top + int(LINE) * len(lines) + PADDING
        self.canvas.rectangle((MARGIN, top, FILM_WIDTH - MARGIN, bottom), palette()["amber"])
        for i, line in enumerate(lines):
            self.text(MARGIN + PADDING, top + LINE * (i + 1), line, "background")
        return bottom + GAP

    def pictures(self, pictures: tuple[Picture, ...], top: int, width: int, height: int) -> int:
        """Draw the main pictures as large as they fit, and return the bottom of their captions."""
        cell = (width - (len(pictures) - 1) * GAP) // len(pictures)
        bottom = top
        for i, picture in enumerate(pictures):
            x, size = MARGIN + i * (cell + GAP), fit(picture.image, cell, height - LINE)
            self.paste(picture.image, x, top, *size)
            self.text(x, top + size[1] + 14, picture.caption, "muted")
            bottom = max(bottom, top + int(size[1] + LINE))
        return bottom

    def card(self, drawing: Drawing, bottom: int) -> None:
        """Fill the image with a panel on its background."""
        self.canvas.rounded_rectangle((0, 0, CARD - 1, bottom - 1), 8, palette()["card"])
        x0 = y0 = PADDING
        for mark in drawing.marks:
            match mark:
                case Box(x, y, width, height, style, opacity):
                    end = (x0 + x + max(width - 1, 0), y0 + y + height - 1)
                    self.canvas.rectangle((x0 + x, y0 + y, *end), _blend(style, opacity))
                case Line(points, style):
                    shifted = [(x0 + x, y0 + y) for x, y in points]
                    self.canvas.line(shifted, palette()[style], 2)
                case Text(x, y, text, style, anchor):
                    self.text(x0 + x, y0 + y, text, style, anchor)
                case PlacedImage(x, y, width, height, image):
                    self.paste(image, x0 + x, y0 + y, width, height)


@lru_cache
def _blend(style: str, opacity: float) -> tuple[int, ...]:
    """Return a color of the page over the background of a panel."""
    color, card = (ImageColor.getrgb(palette()[name]) for name in (style, "card"))
    return tuple(round(opacity * a + (1 - opacity) * b) for a, b in zip(color, card, strict=True))
