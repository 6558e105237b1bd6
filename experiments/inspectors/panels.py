"""Panels: the contents of the page and of a film, as data.

``drawing.py`` lays a panel out, once for both. A new kind of panel is a class here and a function
there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.video import Image


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and its caption."""

    image: Image
    caption: str = ""
    erasable: bool = False
    """Whether the user erases its pixels on the page."""


@dataclass(frozen=True, slots=True)
class Slider:
    """A value that the user can override on the page."""

    title: str
    name: str
    minimum: float
    maximum: float
    step: float
    value: float | None
    """The user's value; None if it is not overridden."""
    model_value: float


@dataclass(frozen=True, slots=True)
class Images:
    """Pictures side by side, with sliders below them on the page."""

    title: str
    pictures: tuple[Picture, ...]
    note: str = ""
    sliders: tuple[Slider, ...] = ()


@dataclass(frozen=True, slots=True)
class BarChart:
    """One value per label; a value that is not finite is shown as untried."""

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    highlighted: int = -1
    """Index of the highlighted bar; -1 for none."""
    note: str = ""
    """What the values are, and their unit."""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A matrix of values in [0, 1], one column per future timestep."""

    title: str
    labels: tuple[str, ...]
    values: NDArray[np.float32]
    """[rows, columns]."""
    x_label: str
    highlighted: tuple[str, ...] = ()
    """Labels of the rows in the highlight color."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class LineChart:
    """Two time series by name, oldest value first, on axes from 0."""

    title: str
    series: dict[str, tuple[float, ...]]
    x_label: str
    y_label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a name and its formatted value."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a map, in columns and rows."""

    column: float
    row: float
    label: str = ""
    image: Image | None = None
    """What is in it; None for a place that was not visited."""
    highlighted: bool = False


@dataclass(frozen=True, slots=True)
class PlaceMap:
    """Places beside and above each other, in ``columns`` x ``rows``."""

    title: str
    places: tuple[Place, ...]
    columns: int
    rows: int
    note: str = ""


Panel = Images | BarChart | Heatmap | LineChart | Table | PlaceMap


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of one timestep: the main pictures and the inspection panels."""

    pictures: tuple[Picture, ...]
    panels: tuple[Panel, ...] = ()
    untrained: tuple[str, ...] = ()
    """Why parts that are shown have not learned anything yet, one sentence each."""
