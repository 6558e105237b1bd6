"""Rendering of a view without a browser: the main view, and the panels in columns beside it."""

import math

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ..evaluation.plan_drawings import ROW, paint_cells
from ..evaluation.video import Image
from .panels import BarChart, Heatmap, Images, LineChart, Panel, Table, View

WIDTH, HEIGHT, MARGIN, GAP = 960, 496, 16, 10
BACKGROUND, CARD, TEXT, MUTED, EMPTY = "#12141a", "#1b1f28", "#dee2e9", "#858e9e", "#2b313d"
BLUE, AMBER = "#5c9de3", "#e8a33d"
LINE_HEIGHT = 15
"""Pixels from one line of small text to the next."""


def render_view(view: View, caption: str) -> Image:
    """Render a view as an RGB image of 960 x 496 with a caption; panels that do not fit are
    left out."""
    image = Pillow.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    canvas = _Canvas(image)
    wide = len(view.main.pictures) > 1
    main_width = WIDTH - 2 * MARGIN if wide else 400
    main_height = 318 if wide else HEIGHT - 70
    canvas.main_view(view.main, MARGIN, MARGIN, main_width, main_height)
    left, top = (MARGIN, MARGIN + main_height + GAP) if wide else (432, MARGIN)
    columns = 3 if wide else 2
    width = (WIDTH - MARGIN - left - (columns - 1) * GAP) // columns
    bottoms = [top] * columns
    for panel in view.panels:
        height = _height(panel, width)
        column = min(range(columns), key=bottoms.__getitem__)
        if not height or bottoms[column] + height > HEIGHT - 36:
            continue
        canvas.panel(panel, left + column * (width + GAP), bottoms[column], width, height)
        bottoms[column] += height + GAP
    canvas.text(MARGIN, HEIGHT - 26, caption, 14)
    return np.asarray(image)


def _height(panel: Panel, width: int) -> int:
    """Return the height of a panel in pixels; 0 for a kind that is not rendered."""
    match panel:
        case BarChart():
            return 30 + LINE_HEIGHT * len(panel.labels)
        case Table():
            return 30 + LINE_HEIGHT * len(panel.rows)
        case Heatmap():
            return 34 + ROW * len(panel.labels)
        case LineChart():
            return 110
        case Images():
            columns, rows = min(len(panel.pictures), 3), math.ceil(len(panel.pictures) / 3)
            return 26 + rows * (int((width - 16) / max(columns, 2)) + LINE_HEIGHT)
    return 0


class _Canvas:
    def __init__(self, image: Pillow.Image) -> None:
        self.image, self.draw = image, ImageDraw.Draw(image)

    def text(self, x: int, y: int, text: str, size: int = 11, color: str = TEXT) -> None:
        self.draw.text((x, y), text, fill=color, font=ImageFont.load_default(size))

    def panel(self, panel: Panel, left: int, top: int, width: int, height: int) -> None:
        box = (left, top, left + width, top + height)
        self.draw.rounded_rectangle(box, 6, fill=CARD)
        self.text(left + 8, top + 6, panel.title, 12)
        x, y, inner_width = left + 8, top + 24, width - 16
        match panel:
            case BarChart():
                self._bar_chart(panel, x, y, inner_width)
            case Table():
                self._table(panel, x, y, inner_width)
            case Heatmap():
                self._heatmap(panel, x, y, inner_width)
            case LineChart():
                self._line_chart(panel, x, y, inner_width, height - 32)
            case Images():
                self._images(panel, x, y, inner_width)

    def main_view(self, images: Images, left: int, top: int, width: int, height: int) -> None:
        """Draw the pictures side by side, as large as they fit."""
        picture_width = (width - (len(images.pictures) - 1) * GAP) // len(images.pictures)
        for index, picture in enumerate(images.pictures):
            x = left + index * (picture_width + GAP)
            drawn_height = self._picture(picture.image, x, top, picture_width, height - 18)
            self.text(x, top + drawn_height + 3, picture.caption, 11, MUTED)

    def _picture(self, image: Image, left: int, top: int, width: int, height: int) -> int:
        """Paste an image as large as it fits; return the height drawn."""
        rows, columns = image.shape[:2]
        # The pixels of an Atari screen are wider than high.
        aspect_ratio = 4 / 3 if (rows, columns) == (210, 160) else columns / rows
        drawn = min(width, height * aspect_ratio), min(height, width / aspect_ratio)
        size = max(1, int(drawn[0])), max(1, int(drawn[1]))
        rgb = Pillow.fromarray(np.ascontiguousarray(image)).convert("RGB")
        self.image.paste(rgb.resize(size, Pillow.Resampling.NEAREST), (left, top))
        return size[1]

    def _table(self, panel: Table, x: int, y: int, width: int) -> None:
        for row, (name, value) in enumerate(panel.rows):
            self.text(x, y + LINE_HEIGHT * row, name, color=MUTED)
            text_width = self.draw.textlength(value, font=ImageFont.load_default(11))
            self.text(x + width - int(text_width), y + LINE_HEIGHT * row, value)

    def _bar_chart(self, panel: BarChart, x: int, y: int, width: int) -> None:
        finite = [value for value in panel.values if math.isfinite(value)]
        low, high, bar_width = min([0.0, *finite]), max([0.0, *finite]), width - 120
        scale = bar_width / max(high - low, 1e-9)
        for row, (label, value) in enumerate(zip(panel.labels, panel.values, strict=True)):
            line = y + LINE_HEIGHT * row
            color, fill = (TEXT, AMBER) if row == panel.highlighted else (MUTED, BLUE)
            self.text(x, line, label, color=color)
            if not math.isfinite(value):
                self.text(x + 74, line, "untried", color=MUTED)
                continue
            left, right = (x + 74 + scale * (bound - low) for bound in sorted((0.0, value)))
            self.draw.rectangle((left, line + 2, right, line + 11), fill=fill)
            self.text(x + 80 + bar_width, line, f"{value:.3g}", color=color)

    def _heatmap(self, panel: Heatmap, x: int, y: int, width: int) -> None:
        for row, label in enumerate(panel.labels):
            self.text(x, y + ROW * row - 2, label, 10, MUTED)
        colors = [AMBER if label in panel.highlighted else BLUE for label in panel.labels]
        cell = (width - 66) // panel.values.shape[1]
        cells = paint_cells(panel.values, colors, cell=cell, empty=EMPTY, background=CARD)
        self.image.paste(Pillow.fromarray(cells), (x + 66, y))

    def _line_chart(self, panel: LineChart, x: int, y: int, width: int, height: int) -> None:
        maximum = max([1e-9, *(v for values in panel.series.values() for v in values)])
        for index, (name, values) in enumerate(panel.series.items()):
            color = (AMBER, BLUE)[index]
            columns = np.linspace(x, x + width, len(values))
            points = zip(columns, (y + height * (1 - v / maximum) for v in values), strict=True)
            self.draw.line([*points], fill=color, width=2)
            self.text(x + width - 130 + 60 * index, y - 17, name, 10, color)

    def _images(self, panel: Images, x: int, y: int, width: int) -> None:
        columns = min(len(panel.pictures), 3)
        size = width // max(columns, 2)
        for index, picture in enumerate(panel.pictures):
            left, top = x + index % 3 * size, y + index // 3 * (size + LINE_HEIGHT)
            self._picture(picture.image, left, top, size - 4, size - 4)
            self.text(left, top + size - 3, picture.caption[:22], 10, MUTED)
