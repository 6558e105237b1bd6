"""Panels: the contents of the page as data, and their encoding as JSON.

Images are PNG in base64: PNG is lossless, and small for the screens of games.
"""

import base64
import io
import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..evaluation.video import Image
from ..runs.files import to_json


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and its caption."""

    image: Image
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Images:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class BarChart:
    """One value per label; a value that is not finite is shown as untried."""

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    highlighted: int = -1
    """Index of the highlighted bar; -1 for none."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A matrix of values in [0, 1], one column per future timestep."""

    title: str
    labels: tuple[str, ...]
    values: NDArray[np.float32]
    """[rows, columns]."""
    highlighted: tuple[str, ...] = ()
    """Labels of the rows in the highlight color."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class LineChart:
    """Time series by name, oldest value first."""

    title: str
    series: dict[str, tuple[float, ...]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a name and its formatted value."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Slider:
    """A value that the user can override."""

    title: str
    name: str
    minimum: float
    maximum: float
    step: float
    value: float | None
    """The user's value; None if it is not overridden."""
    model_value: float


Panel = Images | BarChart | Heatmap | LineChart | Table | Slider


@dataclass(frozen=True, slots=True)
class View:
    """The contents of the page at one timestep: the main view and the inspection panels."""

    main: Images
    panels: tuple[Panel, ...] = ()


def pack(state: dict[str, Any], packed_view: bytes) -> bytes:
    """Encode a message of the session's state and an encoded view as JSON."""
    return b'{"state": %b, "panels": %b}' % (to_json(state).encode(), packed_view)


def pack_view(view: View) -> bytes:
    """Encode the panels of a view as JSON, the main view first."""
    return to_json(_as_plain((view.main, *view.panels))).encode()


def _as_plain(value: Any) -> Any:
    """Convert panels and what they hold to JSON values, the classes' names as ``kind``.

    Numbers have five significant digits, or are None if they are not finite.
    """
    match value:
        case float():
            return float(f"{value:.5g}") if math.isfinite(value) else None
        case tuple():
            return [_as_plain(x) for x in value]
        case dict():
            return {name: _as_plain(x) for name, x in value.items()}
        case np.ndarray() if value.dtype == np.uint8:
            return {"size": value.shape[1::-1], "png": _encode_png(value)}
        case np.ndarray():
            return value.astype(np.float64).round(2).tolist()
        case _ if is_dataclass(value):
            named = {field.name: getattr(value, field.name) for field in fields(value)}
            return {"kind": type(value).__name__, **_as_plain(named)}
    return value


def _encode_png(image: Image) -> str:
    """Encode an image as PNG, at the fastest compression level, in base64."""
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()
