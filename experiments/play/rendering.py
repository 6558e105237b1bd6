"""Rendering of a view without a browser: the main view, and the panels in columns beside it."""

import math

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from .panels import BarChart, Heatmap, Image, Images, LineChart, Panel, Table, View

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
    if isinstance(panel, BarChart):
        return 30 + LINE_HEIGHT * len(panel.labels)
    if isinstance(panel, Table):
        return 30 + LINE_HEIGHT * len(panel.rows)
    if isinstance(panel, Heatmap):
        return 34 + 11 * len(panel.labels)
    if isinstance(panel, LineChart):
        return 110
    if isinstance(panel, Images):
        columns = min(len(panel.pictures), 3)
        rows = math.ceil(len(panel.pictures) / 3)
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
        if isinstance(panel, BarChart):
            self._bar_chart(panel, x, y, inner_width)
        elif isinstance(panel, Table):
            self._table(panel, x, y, inner_width)
        elif isinstance(panel, Heatmap):
            self._heatmap(panel, x, y, inner_width)
        elif isinstance(panel, LineChart):
            self._line_chart(panel, x, y, inner_width, height - 32)
        elif isinstance(panel, Images):
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
        drawn_width, drawn_height = (width, int(width / aspect_ratio))
        if drawn_height > height:
            drawn_width, drawn_height = int(height * aspect_ratio), height
        rgb = Pillow.fromarray(np.ascontiguousarray(image)).convert("RGB")
        resized = rgb.resize((drawn_width, drawn_height), Pillow.Resampling.NEAREST)
        self.image.paste(resized, (left, top))
        return drawn_height

    def _table(self, panel: Table, x: int, y: int, width: int) -> None:
        for row, (name, value) in enumerate(panel.rows):
            self.text(x, y + LINE_HEIGHT * row, name, color=MUTED)
            text_width = self.draw.textlength(value, font=ImageFont.load_default(11))
            self.text(x + width - int(text_width), y + LINE_HEIGHT * row, value)

    def _bar_chart(self, panel: BarChart, x: int, y: int, width: int) -> None:
        finite = [value for value in panel.values if math.isfinite(value)]
        low, high = min([0.0, *finite]), max([0.0, *finite])
        bar_width = width - 120
        for row, (label, value) in enumerate(zip(panel.labels, panel.values, strict=True)):
            line = y + LINE_HEIGHT * row
            highlighted = row == panel.highlighted
            self.text(x, line, label, color=TEXT if highlighted else MUTED)
            if not math.isfinite(value):
                self.text(x + 74, line, "untried", color=MUTED)
                continue
            span = max(high - low, 1e-9)
            zero, end = x + 74 + bar_width * -low / span, x + 74 + bar_width * (value - low) / span
            self.draw.rectangle(
                (min(zero, end), line + 2, max(zero, end), line + 11),
                fill=AMBER if highlighted else BLUE,
            )
            color = TEXT if highlighted else MUTED
            self.text(x + 80 + bar_width, line, f"{value:.3g}", color=color)

    def _heatmap(self, panel: Heatmap, x: int, y: int, width: int) -> None:
        rows, columns = panel.values.shape
        cell = (width - 66) / columns
        empty, normal, highlight = (np.array(_rgb(c)) for c in (EMPTY, BLUE, AMBER))
        for row in range(rows):
            self.text(x, y + 11 * row - 2, panel.labels[row], 10, MUTED)
            color = highlight if panel.labels[row] in panel.highlighted else normal
            for column in range(columns):
                value = float(panel.values[row, column])
                fill = tuple((empty + value * (color - empty)).astype(int).tolist())
                left = x + 66 + column * cell
                self.draw.rectangle(
                    (left, y + 11 * row, left + cell - 1, y + 11 * row + 9), fill=fill
                )

    def _line_chart(self, panel: LineChart, x: int, y: int, width: int, height: int) -> None:
        maximum = max([1e-9, *(v for values in panel.series.values() for v in values)])
        for values, color in zip(panel.series.values(), (AMBER, BLUE), strict=False):
            points = [
                (x + width * i / max(len(values) - 1, 1), y + height * (1 - value / maximum))
                for i, value in enumerate(values)
            ]
            if len(points) > 1:
                self.draw.line(points, fill=color, width=2)
        for index, (name, color) in enumerate(zip(panel.series, (AMBER, BLUE), strict=False)):
            self.text(x + width - 130 + 60 * index, y - 17, name, 10, color)

    def _images(self, panel: Images, x: int, y: int, width: int) -> None:
        columns = min(len(panel.pictures), 3)
        size = width // max(columns, 2)
        for index, picture in enumerate(panel.pictures):
            left, top = x + index % 3 * size, y + index // 3 * (size + LINE_HEIGHT)
            self._picture(picture.image, left, top, size - 4, size - 4)
            self.text(left, top + size - 3, picture.caption[:22], 10, MUTED)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
