"""A view drawn without a browser: the stage on the left, the insides in a column beside it."""

import math

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from experiments.play.panels import Bars, Image, Images, Line, Matrix, Numbers, Panel, View

WIDTH, HEIGHT, MARGIN, GAP = 960, 496, 16, 10
GROUND, CARD, INK, SOFT, EMPTY = "#12141a", "#1b1f28", "#dee2e9", "#858e9e", "#2b313d"
BLUE, AMBER = "#5c9de3", "#e8a33d"
LINE = 15
"""Pixels from one line of small text to the next."""


def drawn(view: View, caption: str) -> Image:
    """A picture of 960 x 496, with a caption below; panels that find no place are left out."""
    image = Pillow.new("RGB", (WIDTH, HEIGHT), GROUND)
    canvas = _Canvas(image)
    wide = len(view.stage.pictures) > 1
    stage_width = WIDTH - 2 * MARGIN if wide else 400
    stage_height = 318 if wide else HEIGHT - 70
    canvas.pictures(view.stage, MARGIN, MARGIN, stage_width, stage_height)
    left, top = (MARGIN, MARGIN + stage_height + GAP) if wide else (432, MARGIN)
    columns = 3 if wide else 2
    width = (WIDTH - MARGIN - left - (columns - 1) * GAP) // columns
    bottoms = [top] * columns
    for panel in view.insides:
        height = _height(panel, width)
        column = min(range(columns), key=bottoms.__getitem__)
        if not height or bottoms[column] + height > HEIGHT - 36:
            continue
        canvas.panel(panel, left + column * (width + GAP), bottoms[column], width, height)
        bottoms[column] += height + GAP
    canvas.text(MARGIN, HEIGHT - 26, caption, 14)
    return np.asarray(image)


def _height(panel: Panel, width: int) -> int:
    """How much room a panel asks for; 0 where it is not drawn."""
    if isinstance(panel, Bars):
        return 30 + LINE * len(panel.labels)
    if isinstance(panel, Numbers):
        return 30 + LINE * len(panel.rows)
    if isinstance(panel, Matrix):
        return 34 + 11 * len(panel.labels)
    if isinstance(panel, Line):
        return 110
    if isinstance(panel, Images):
        across = min(len(panel.pictures), 3)
        rows = math.ceil(len(panel.pictures) / 3)
        return 26 + rows * (int((width - 16) / max(across, 2)) + LINE)
    return 0


class _Canvas:
    def __init__(self, image: Pillow.Image) -> None:
        self.image, self.draw = image, ImageDraw.Draw(image)

    def text(self, x: int, y: int, text: str, size: int = 11, colour: str = INK) -> None:
        self.draw.text((x, y), text, fill=colour, font=ImageFont.load_default(size))

    def panel(self, panel: Panel, left: int, top: int, width: int, height: int) -> None:
        box = (left, top, left + width, top + height)
        self.draw.rounded_rectangle(box, 6, fill=CARD)
        self.text(left + 8, top + 6, panel.title, 12)
        x, y, inner = left + 8, top + 24, width - 16
        if isinstance(panel, Bars):
            self._bars(panel, x, y, inner)
        elif isinstance(panel, Numbers):
            for row, (name, value) in enumerate(panel.rows):
                self.text(x, y + LINE * row, name, colour=SOFT)
                end = self.draw.textlength(value, font=ImageFont.load_default(11))
                self.text(x + inner - int(end), y + LINE * row, value)
        elif isinstance(panel, Matrix):
            self._matrix(panel, x, y, inner)
        elif isinstance(panel, Line):
            self._line(panel, x, y, inner, height - 32)
        elif isinstance(panel, Images):
            self._gallery(panel, x, y, inner)

    def pictures(self, panel: Images, left: int, top: int, width: int, height: int) -> None:
        """Side by side, as large as they can be; an Atari screen is wider than its pixels."""
        each = (width - (len(panel.pictures) - 1) * GAP) // len(panel.pictures)
        for place, picture in enumerate(panel.pictures):
            x = left + place * (each + GAP)
            down = self._picture(picture.image, x, top, each, height - 18)
            self.text(x, top + down + 3, picture.caption, 11, SOFT)

    def _picture(self, image: Image, left: int, top: int, width: int, height: int) -> int:
        """Paste an image as large as it can be; the rows it takes."""
        rows, columns = image.shape[:2]
        shape = 4 / 3 if (rows, columns) == (210, 160) else columns / rows
        across, down = (width, int(width / shape))
        if down > height:
            across, down = int(height * shape), height
        whole = Pillow.fromarray(np.ascontiguousarray(image)).convert("RGB")
        self.image.paste(whole.resize((across, down), Pillow.Resampling.NEAREST), (left, top))
        return down

    def _bars(self, panel: Bars, x: int, y: int, width: int) -> None:
        known = [value for value in panel.values if math.isfinite(value)]
        low, high = min([0.0, *known]), max([0.0, *known])
        room = width - 120
        for row, (label, value) in enumerate(zip(panel.labels, panel.values, strict=True)):
            line = y + LINE * row
            chosen = row == panel.chosen
            self.text(x, line, label, colour=INK if chosen else SOFT)
            if not math.isfinite(value):
                self.text(x + 74, line, "untried", colour=SOFT)
                continue
            span = max(high - low, 1e-9)
            zero, end = x + 74 + room * -low / span, x + 74 + room * (value - low) / span
            self.draw.rectangle(
                (min(zero, end), line + 2, max(zero, end), line + 11),
                fill=AMBER if chosen else BLUE,
            )
            self.text(x + 80 + room, line, f"{value:.3g}", colour=INK if chosen else SOFT)

    def _matrix(self, panel: Matrix, x: int, y: int, width: int) -> None:
        rows, columns = panel.values.shape
        cell = (width - 66) / columns
        empty, full = (np.array(_rgb(c)) for c in (EMPTY, BLUE))
        mark = np.array(_rgb(AMBER))
        for row in range(rows):
            self.text(x, y + 11 * row - 2, panel.labels[row], 10, SOFT)
            colour = mark if panel.labels[row] in panel.marks else full
            for column in range(columns):
                share = float(panel.values[row, column])
                fill = tuple((empty + share * (colour - empty)).astype(int).tolist())
                left = x + 66 + column * cell
                self.draw.rectangle(
                    (left, y + 11 * row, left + cell - 1, y + 11 * row + 9), fill=fill
                )

    def _line(self, panel: Line, x: int, y: int, width: int, height: int) -> None:
        most = max([1e-9, *(v for values in panel.series.values() for v in values)])
        for values, colour in zip(panel.series.values(), (AMBER, BLUE), strict=False):
            points = [
                (x + width * i / max(len(values) - 1, 1), y + height * (1 - value / most))
                for i, value in enumerate(values)
            ]
            if len(points) > 1:
                self.draw.line(points, fill=colour, width=2)
        for place, (name, colour) in enumerate(zip(panel.series, (AMBER, BLUE), strict=False)):
            self.text(x + width - 130 + 60 * place, y - 17, name, 10, colour)

    def _gallery(self, panel: Images, x: int, y: int, width: int) -> None:
        across = min(len(panel.pictures), 3)
        size = width // max(across, 2)
        for place, picture in enumerate(panel.pictures):
            left, top = x + place % 3 * size, y + place // 3 * (size + LINE)
            self._picture(picture.image, left, top, size - 4, size - 4)
            self.text(left, top + size - 3, picture.caption[:22], 10, SOFT)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
