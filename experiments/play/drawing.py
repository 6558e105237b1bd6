"""Drawings of panels: where each bar, line, text and picture of a panel is.

The page shows a drawing as SVG (``encoding.py``), a film as pixels (``film.py``); neither knows the
kinds of panels. Lengths are in pixels, y downwards, and every drawing is ``WIDTH`` wide. Styles are
the names of colors in ``page/page.css``.
"""

import math
from itertools import groupby
from typing import Literal, NamedTuple

from ..evaluation.drawn_text import axis_values, number, shortened, text_width, wrap
from ..evaluation.images import fit
from ..evaluation.video import Image
from ..inspectors.panels import BarChart, Heatmap, Images, LineChart, Panel, PlaceMap, Table

WIDTH, GAP = 320.0, 8.0
LINE = 17.0
"""Height of a line of text."""
TITLE = 26.0
"""Height of a panel's title, with the space below it."""
PLOT = 104.0
"""Height of a line chart's axes."""
PICTURE = 168.0
"""Height of a picture at most, twice that of a frame of 84 x 84."""
PLACE_HEIGHT = 0.75
"""Of a place of a map, in widths."""
SERIES_STYLES = ("amber", "blue")


class Text(NamedTuple):
    """A line of text; y is its baseline."""

    x: float
    y: float
    text: str
    style: str = "muted"
    anchor: Literal["start", "middle", "end"] = "start"


class Box(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    style: str
    opacity: float = 1.0


class Line(NamedTuple):
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    style: str


class PlacedImage(NamedTuple):
    """An image scaled to a rectangle, with sharp pixels."""

    x: float
    y: float
    width: float
    height: float
    image: Image
    erasable: bool = False


Mark = Text | Box | Line | PlacedImage


class Drawing(NamedTuple):
    """The marks of a panel, later ones over earlier ones, and its height."""

    height: float
    marks: list[Mark]


def draw(panel: Panel) -> Drawing:
    """Draw a panel: its title, its content, and its note in as many lines as it needs."""
    match panel:
        case BarChart():
            height, marks = _draw_bars(panel)
        case Table():
            height, marks = _draw_table(panel)
        case Heatmap():
            height, marks = _draw_cells(panel)
        case LineChart():
            height, marks = _draw_lines(panel)
        case Images():
            height, marks = _draw_images(panel)
        case PlaceMap():
            height, marks = _draw_places(panel)
    lines = wrap(panel.note, WIDTH)
    notes = [Text(0, height + 15 + LINE * i, line) for i, line in enumerate(lines)]
    title = Text(0, 13, shortened(panel.title, WIDTH * 0.88), "title")  # bold is wider
    return Drawing(height + LINE * len(lines) + (4 if lines else 0), [title, *marks, *notes])


def _draw_bars(panel: BarChart) -> Drawing:
    labels = [shortened(label, WIDTH / 2) for label in panel.labels]
    values = [number(value) for value in panel.values]
    left = max(map(text_width, labels)) + GAP
    right = WIDTH - max(map(text_width, values)) - GAP
    finite = [value for value in panel.values if math.isfinite(value)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    high = high if high > low else low + 1
    scale = (right - left) / (high - low)
    bottom = TITLE + LINE * len(labels)
    marks: list[Mark] = _x_axis(low, high, left, right, TITLE, bottom)
    for row, (label, value, shown) in enumerate(zip(labels, panel.values, values, strict=True)):
        y, highlighted = TITLE + LINE * row, row == panel.highlighted
        style = "text" if highlighted else "muted"
        marks += [Text(0, y + 13, label, style), Text(WIDTH, y + 13, shown, style, "end")]
        if math.isfinite(value):
            x, width = left + scale * (min(0.0, value) - low), scale * abs(value)
            marks.append(Box(x, y + 4, width, 10, "amber" if highlighted else "blue"))
    return Drawing(bottom + LINE, marks)


def _draw_table(panel: Table) -> Drawing:
    marks: list[Mark] = []
    y = TITLE
    for name, value in panel.rows:
        if text_width(name) + GAP + text_width(value) <= WIDTH:
            marks += [Text(0, y + 13, name), Text(WIDTH, y + 13, value, "text", "end")]
            y += LINE
            continue
        for style, text in (("muted", name), ("text", value)):
            for line in wrap(text, WIDTH):
                marks.append(Text(0, y + 13, line, style))
                y += LINE
    return Drawing(y, marks)


def _draw_cells(panel: Heatmap) -> Drawing:
    labels = [shortened(label, WIDTH / 2) for label in panel.labels]
    left = max(map(text_width, labels)) + GAP
    rows, columns = panel.values.shape
    width, bottom = (WIDTH - left) / columns, TITLE + LINE * rows
    marks: list[Mark] = _x_axis(0, columns, left, WIDTH, TITLE, bottom)
    levels = panel.values.round(1).tolist()
    for row, (label, name) in enumerate(zip(labels, panel.labels, strict=True)):
        y, style = TITLE + LINE * row, "amber" if name in panel.highlighted else "blue"
        marks += [Text(0, y + 13, label), Box(left, y + 2, WIDTH - left, 13, "track")]
        start = 0
        for level, equal in groupby(levels[row]):
            end = start + len([*equal])
            if level > 0:
                x = left + width * start
                marks.append(Box(x, y + 2, width * (end - start), 13, style, level))
            start = end
    marks.append(Text((left + WIDTH) / 2, bottom + LINE + 13, panel.x_label, anchor="middle"))
    return Drawing(bottom + 2 * LINE, marks)


def _draw_lines(panel: LineChart) -> Drawing:
    count = max(2, *map(len, panel.series.values()))
    finite = [y for values in panel.series.values() for y in values if math.isfinite(y)]
    high = max([0.0, *finite]) or 1.0
    shown = axis_values(0, high)
    left = max(text_width(number(value)) for value in shown) + GAP
    top = TITLE + LINE * 2
    bottom = top + PLOT
    marks: list[Mark] = [Text(0, TITLE + 11, panel.y_label)]
    x = left
    for style, name in zip(SERIES_STYLES, panel.series, strict=True):
        marks += [Line(((x, top - 9), (x + 16, top - 9)), style), Text(x + 20, top - 5, name)]
        x += text_width(name) + 20 + 2 * GAP
    marks += _x_axis(0, count, left, WIDTH, top, bottom)
    for value in shown:
        y = bottom - PLOT * value / high
        marks += [Box(left, y, WIDTH - left, 1, "grid")]
        marks += [Text(left - 6, y + 4, number(value), anchor="end")]
    for style, values in zip(SERIES_STYLES, panel.series.values(), strict=True):
        points = (
            (left + (WIDTH - left) * (i + 1) / count, bottom - PLOT * value / high)
            for i, value in enumerate(values)
            if math.isfinite(value)
        )
        marks.append(Line(tuple(points), style))
    marks.append(Text((left + WIDTH) / 2, bottom + LINE + 13, panel.x_label, anchor="middle"))
    return Drawing(bottom + 2 * LINE, marks)


def _draw_images(panel: Images) -> Drawing:
    count = len(panel.pictures)
    columns = 3 if count == 3 or count > 6 else min(count, 2)
    width = (WIDTH - (columns - 1) * GAP) / columns
    marks: list[Mark] = []
    y = TITLE
    for start in range(0, count, columns):
        row = panel.pictures[start : start + columns]
        sizes = [fit(picture.image, width, min(width, PICTURE)) for picture in row]
        captions = [wrap(picture.caption, width) for picture in row]
        height = max(size[1] for size in sizes)
        for column, (picture, size, lines) in enumerate(zip(row, sizes, captions, strict=True)):
            x = column * (width + GAP)
            marks.append(PlacedImage(x, y, *size, picture.image, picture.erasable))
            marks += [Text(x, y + height + 14 + LINE * i, line) for i, line in enumerate(lines)]
        y += height + LINE * max(map(len, captions)) + GAP
    return Drawing(y - GAP / 2, marks)


def _draw_places(panel: PlaceMap) -> Drawing:
    width, gap = WIDTH / panel.columns, 3.0
    side = width - gap
    height = side * PLACE_HEIGHT + LINE
    marks: list[Mark] = []
    for place in panel.places:
        x, y = width * place.column + gap / 2, TITLE + height * place.row
        box = (x, y, side, side * PLACE_HEIGHT)
        if place.highlighted:
            marks.append(Box(x - 2, y - 2, side + 4, side * PLACE_HEIGHT + 4, "amber"))
        marks.append(Box(*box, "track") if place.image is None else PlacedImage(*box, place.image))
        style = "text" if place.image is not None else "muted"
        label = shortened(place.label, width)
        marks.append(Text(x + side / 2, y + side * PLACE_HEIGHT + 13, label, style, "middle"))
    return Drawing(TITLE + height * panel.rows, marks)


def _x_axis(
    low: float, high: float, left: float, right: float, top: float, bottom: float
) -> list[Mark]:
    """Draw grid lines from top to bottom at round values of x, and the values below them."""
    marks: list[Mark] = []
    for value in axis_values(low, high, min(max(int((right - left) / 60), 1), 4)):
        x = left + (right - left) * (value - low) / (high - low)
        text = number(value)
        center = min(x, WIDTH - text_width(text) / 2)
        marks += [Box(min(x, WIDTH - 1), top, 1, bottom - top, "grid")]
        marks += [Text(center, bottom + 13, text, anchor="middle")]
    return marks
