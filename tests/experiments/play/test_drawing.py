"""Drawings of panels: laws of every kind of panel, and one drawing for the page and for films."""

import math
import re
from collections import Counter
from typing import get_args

import numpy as np
import pytest
from PIL import ImageColor

from reverie.experiments.evaluation.drawn_text import axis_values, shortened, text_width, wrap
from reverie.experiments.evaluation.images import fit
from reverie.experiments.inspectors.panels import (
    BarChart,
    Heatmap,
    Images,
    LineChart,
    Panel,
    Picture,
    Place,
    PlaceMap,
    Table,
    View,
)
from reverie.experiments.play.drawing import WIDTH, Box, Drawing, Line, PlacedImage, Text, draw
from reverie.experiments.play.encoding import drawing_to_json
from reverie.experiments.play.film import (
    CARD,
    FILM_HEIGHT,
    FILM_WIDTH,
    GAP,
    MARGIN,
    MIN_SCALE,
    PADDING,
    STYLE_SHEET,
    Film,
    palette,
    render_view,
)

LONG = "a name much longer than a panel is wide, without_any_space_in_its_last_and_longest_word"
NAMES = tuple("noop fire up right left down upright upleft downright downleft upfire".split())
CURVE = tuple(float(i) ** 2 for i in range(300))


def pictures(
    count: int, rows: int = 84, columns: int = 84, caption: str = ""
) -> tuple[Picture, ...]:
    return (Picture(np.full((rows, columns), 200, np.uint8), caption),) * count


PANELS: dict[str, Panel] = {
    "bars": BarChart("Q", NAMES, tuple(np.linspace(-3, 5, 11)), 3, "in points"),
    "bars below 0": BarChart("Q", NAMES[:3], (-1e-6, -2e-6, -5e-7), 0),
    "equal bars": BarChart("Q", NAMES[:2], (0.0, 0.0)),
    "untried bars": BarChart("Q", NAMES[:3], (math.inf, -math.inf, math.nan)),
    "long bars": BarChart(LONG, (LONG, "b"), (123456789.0, -1e30), 0, LONG),
    "table": Table("T", (("name", "value"), (LONG, "1"), ("a", LONG)), LONG),
    "no rows": Table("T", (), "nothing yet"),
    "plan": Heatmap("P", NAMES, np.linspace(0, 1, 440, dtype=np.float32).reshape(11, 40), "steps"),
    "short plan": Heatmap("P", (LONG,), np.ones((1, 1), np.float32), "steps"),
    "curves": LineChart("L", {"a": CURVE, "b": CURVE[:7]}, "steps", "error"),
    "no curve": LineChart("L", {"a": (), "b": ()}, "steps", "error"),
    "odd curve": LineChart("L", {"a": (math.nan, 0.0, math.inf), "b": (0.0,)}, "steps", "error"),
    **{f"{n} images": Images("I", pictures(n, caption=LONG), LONG) for n in (1, 2, 3, 4, 6, 9)},
    "tall images": Images("I", pictures(2, 10, 5)),
    "wide images": Images("I", pictures(1, 3, 300)),
    "map": PlaceMap(
        "M",
        tuple(
            Place(x, y, LONG, pictures(1)[0].image if x else None, x == y == 1)
            for x in range(9)
            for y in range(2)
        ),
        9,
        2,
        LONG,
    ),
    "Atari screen": Images("I", (Picture(np.zeros((210, 160, 3), np.uint8)),)),
}
PLOTS = {name: x for name, x in PANELS.items() if isinstance(x, BarChart | Heatmap | LineChart)}


def texts(drawing: Drawing) -> list[Text]:
    return [mark for mark in drawing.marks if isinstance(mark, Text)]


def extent(mark: Box | Text | Line | PlacedImage) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom."""
    match mark:
        case Text(x, y, text, _, anchor):
            width = text_width(text)
            left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            return left, y - 11, left + width, y + 3
        case Line(points):
            columns, rows = zip(*points, strict=True) if points else ((0.0,), (0.0,))
            return min(columns), min(rows), max(columns), max(rows)
    return mark.x, mark.y, mark.x + mark.width, mark.y + mark.height


def test_every_kind_of_panel_is_drawn() -> None:
    assert {type(panel) for panel in PANELS.values()} == {*get_args(Panel)}


@pytest.mark.parametrize("name", PANELS)
def test_marks_are_inside_their_drawing_and_texts_do_not_overlap(name: str) -> None:
    drawing = draw(PANELS[name])
    for mark in drawing.marks:
        left, top, right, bottom = extent(mark)
        assert min(left, top) >= -0.5, mark
        assert right <= WIDTH + 1, mark
        assert bottom <= drawing.height + 1, mark
        assert right >= left, mark
        assert bottom >= top, mark
    for i, one in enumerate(texts(drawing)):
        for other in texts(drawing)[i + 1 :]:
            a, b = extent(one), extent(other)
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
            assert apart, (one, other)


@pytest.mark.parametrize("name", PANELS)
def test_no_text_is_lost(name: str) -> None:
    """Notes, captions and table cells are broken into lines; only labels and titles are cut."""
    panel = PANELS[name]
    whole = [panel.note] if not isinstance(panel, LineChart) else [panel.x_label, panel.y_label]
    whole += [x for row in panel.rows for x in row] if isinstance(panel, Table) else []
    whole += [x.caption for x in panel.pictures] if isinstance(panel, Images) else []
    drawn = "".join(mark.text for mark in texts(draw(panel))).replace(" ", "")
    if isinstance(panel, Images):  # the lines of captions in one row alternate
        drawn = "".join(sorted(drawn))
        whole = ["".join(sorted("".join(whole).replace(" ", "")))]
        assert not Counter(whole[0]) - Counter(drawn)
        return
    for text in whole:
        assert text.replace(" ", "") in drawn


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_has_numbers_on_its_axes_where_they_belong(name: str) -> None:
    drawing = draw(PANELS[name])
    numbers = [x for x in texts(drawing) if re.fullmatch(r"-?[\d,.]+(e[+-]\d+)?", x.text)]
    below = [x for x in numbers if x.anchor == "middle"]
    assert below, "no number on the x axis"
    assert len({x.text for x in below}) == len(below)
    assert len({x.y for x in below}) == 1
    if isinstance(PANELS[name], LineChart):
        assert len([x for x in numbers if x.anchor == "end"]) >= 2, "too few on the y axis"
        labels = {x.text for x in texts(drawing)}
        assert {"steps", "error"} <= labels


def test_bars_lines_and_axes_have_one_scale() -> None:
    bars = PANELS["bars"]
    assert isinstance(bars, BarChart)
    drawing = draw(bars)
    marks = [x for x in texts(drawing) if x.anchor == "middle"]
    slope, offset = np.polyfit([float(x.text) for x in marks], [x.x for x in marks], 1)
    boxes = [x for x in drawing.marks if isinstance(x, Box) and x.style in ("blue", "amber")]
    for box, value in zip(boxes, bars.values, strict=True):
        edges = sorted((offset, offset + slope * value))
        assert (box.x, box.x + box.width) == pytest.approx(edges, abs=0.5)
    assert [box.style for box in boxes].index("amber") == bars.highlighted

    drawing = draw(LineChart("L", {"a": (10.0, 40.0), "b": (20.0, 0.0)}, "steps", "error"))
    ends = [x for x in texts(drawing) if x.anchor == "end"]
    slope, offset = np.polyfit([float(x.text) for x in ends], [x.y - 4 for x in ends], 1)
    curves = [x for x in drawing.marks if isinstance(x, Line)][-2:]
    assert [y for _, y in curves[0].points] == pytest.approx([offset + slope * y for y in (10, 40)])
    assert [y for _, y in curves[1].points] == pytest.approx([offset + slope * y for y in (20, 0)])


def test_the_page_and_a_film_show_the_same_drawing() -> None:
    panel = PANELS["bars"]
    drawing = draw(panel)
    shown = drawing_to_json(drawing)
    assert [text for _, _, text, *_ in shown["texts"]] == [mark.text for mark in texts(drawing)]
    film = render_view(View(pictures(1), (panel,)), "caption")
    amber = (film == ImageColor.getrgb(palette()["amber"])).all(-1)
    rows, columns = amber.any(1).nonzero()[0], amber.any(0).nonzero()[0]
    bar = next(x for x in drawing.marks if isinstance(x, Box) and x.style == "amber")
    left = FILM_WIDTH - MARGIN - CARD + PADDING
    assert columns[0] == pytest.approx(left + bar.x, abs=1)
    assert columns[-1] == pytest.approx(left + bar.x + bar.width, abs=2)
    assert rows[0] == pytest.approx(MARGIN + PADDING + bar.y, abs=1)
    assert f"M{bar.x:.1f} {bar.y:.1f}h{bar.width:.1f}" in str(shown["paths"])


def test_a_film_has_one_column_of_cards_a_little_smaller_if_need_be_and_else_two() -> None:
    panel = PANELS["bars"]
    card = np.array(ImageColor.getrgb(palette()["card"]))
    height, left = int(draw(panel).height) + 2 * PADDING, FILM_WIDTH - MARGIN - CARD
    room = FILM_HEIGHT - 2 * MARGIN
    for number in range(1, 9):
        film = render_view(View(pictures(1), (panel,) * number), "")
        total = number * (height + GAP) - GAP
        drawn = (film[:, left - CARD - GAP : left - GAP] == card).all(-1).any()
        assert drawn == (MIN_SCALE * total > room)
        if not drawn:
            rows = (film[:, left:] == card).all(-1).any(1).nonzero()[0]
            assert rows[-1] - rows[0] == pytest.approx(min(total, room), abs=3), "none is left out"


def test_a_panel_that_loses_a_line_moves_nothing_in_a_film() -> None:
    high, low = (Table("A", (("row", "1"),) * n) for n in (5, 4))
    film, image = Film(), pictures(1)
    before = film.render(View(image, (high, high, high)), "")
    after = film.render(View(image, (high, low, high)), "")
    third = MARGIN + 2 * (int(draw(high).height) + 2 * PADDING + GAP)
    assert (after[third:] == before[third:]).all()
    assert (after != before).any(), "the second has changed"


@pytest.mark.parametrize("size", [(10, 5), (3, 9), (1, 1), (84, 84), (210, 160)])
def test_films_enlarge_frames_by_whole_numbers(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(180, 256, size, np.uint8)
    film = render_view(View((Picture(frame),)), "")
    shown = film[:-45].min(-1) >= 180
    rows, columns = shown.any(1).nonzero()[0], shown.any(0).nonzero()[0]
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert height % size[0] == 0
    assert max(height / 650, width / 1248) > 0.6, "the frame uses the room"
    middle = film[rows[0] + height // size[0] // 2 :: height // size[0], columns[0] + 1, 0]
    assert (middle[: size[0]] == frame[:, 0]).all()


def test_fit_is_inside_the_room_and_whole_from_twice_on() -> None:
    for rows, columns, width, height in ((10, 5, 99, 75), (84, 84, 150, 90), (300, 2, 9, 100)):
        size = fit(np.zeros((rows, columns), np.uint8), width, height)
        assert size[0] <= width
        assert size[1] <= height + 1e-9
        assert size[1] < 2 * rows or size[1] % rows == 0


def test_a_film_shows_why_a_model_is_untrained() -> None:
    view = View(pictures(1), (PANELS["bars"],), ("DQN has made no update yet.",))
    amber = np.array(ImageColor.getrgb(palette()["amber"]))
    assert (render_view(view, "")[MARGIN + 1, MARGIN + 1] == amber).all()
    trained = View(view.pictures, view.panels)
    assert not (render_view(trained, "")[MARGIN + 1, MARGIN + 1] == amber).all()


def luminance(color: str) -> float:
    parts = [x / 255 for x in ImageColor.getrgb(color)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_curves_have_a_contrast_of_4_5(theme: str) -> None:
    declared = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", STYLE_SHEET.read_text())
    colors = {name: light if theme == "light" else dark for name, light, dark in declared}
    fronts = "text", "muted", "blue", "amber", "green", "red"
    pairs = [(front, back) for front in fronts for back in ("background", "card")]
    pairs += [("background", "amber"), ("text", "border")]  # the banner, and a pressed toggle
    for front, back in pairs:
        low, high = sorted((luminance(colors[front]), luminance(colors[back])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)


def test_lines_of_text_fit() -> None:
    lines = wrap(LONG, 100)
    assert "".join(lines).replace(" ", "") == LONG.replace(" ", "")
    assert max(map(text_width, lines)) <= 100
    assert text_width(shortened(LONG, 100)) <= 100
    assert shortened("short", 100) == "short"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 5), (0, 1e-7), (-2e9, 0), (17, 18.5)])
def test_axis_values_are_round_and_within_bounds(low: float, high: float) -> None:
    values = axis_values(low, high)
    assert 2 <= len(values) <= 5
    assert low - 1e-9 * abs(low) <= values[0]
    assert values[-1] <= high + 1e-9 * abs(high)
    steps = np.diff(values)
    assert steps == pytest.approx([steps[0]] * len(steps))
