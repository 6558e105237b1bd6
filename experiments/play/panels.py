"""Panels: the contents of the page as data, and their binary encoding.

A message is two JSON texts, each preceded by its length, followed by the PNG images that the
second text refers to. PNG is lossless, and small for the screens of games.
"""

import io
import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Image = NDArray[np.uint8]
"""[H, W] gray or [H, W, 3]."""


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
    """Encode a message of the session's state and an encoded view."""
    text = json.dumps(state).encode()
    return struct.pack("<I", len(text)) + text + packed_view


def pack_view(view: View) -> bytes:
    """Encode the panels of a view as JSON, followed by their images as PNG."""
    blobs: list[bytes] = []
    panels = [_to_json(panel, blobs) for panel in (view.main, *view.panels)]
    text = json.dumps(panels).encode()
    return struct.pack("<I", len(text)) + text + b"".join(blobs)


def unpack(message: bytes) -> tuple[dict[str, Any], list[dict[str, Any]], bytes]:
    """Decode a message to the state, the panels, and the concatenated PNG images."""
    state, rest = _unpack_json(message)
    panels, blobs = _unpack_json(rest)
    return state, panels, blobs


def encode_png(image: Image) -> bytes:
    """Encode an image as PNG, at the fastest compression level."""
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _unpack_json(message: bytes) -> tuple[Any, bytes]:
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def _to_json(panel: Panel, blobs: list[bytes]) -> dict[str, Any]:
    """Convert a panel to JSON values, and append its images to ``blobs``."""
    kind = type(panel).__name__
    fields: dict[str, Any] = {"kind": kind[0].lower() + kind[1:], "title": panel.title}
    if isinstance(panel, Images):
        fields["pictures"] = [
            {
                "caption": picture.caption,
                "size": [picture.image.shape[1], picture.image.shape[0]],
                "bytes": _append(encode_png(picture.image), blobs),
            }
            for picture in panel.pictures
        ]
    elif isinstance(panel, BarChart):
        fields |= {
            "labels": panel.labels,
            "values": _finite(panel.values),
            "highlighted": panel.highlighted,
        }
    elif isinstance(panel, Heatmap):
        cells = (panel.values.clip(0, 1) * 99).round().astype(int).tolist()
        fields |= {"labels": panel.labels, "cells": cells, "highlighted": panel.highlighted}
    elif isinstance(panel, LineChart):
        fields["series"] = {name: _finite(values) for name, values in panel.series.items()}
    elif isinstance(panel, Table):
        fields["rows"] = panel.rows
    else:
        return fields | {
            "name": panel.name,
            "min": panel.minimum,
            "max": panel.maximum,
            "step": panel.step,
            "value": panel.value,
            "modelValue": panel.model_value,
        }
    return fields | {"note": panel.note}


def _finite(values: Iterable[float]) -> list[float | None]:
    """Round to five significant digits; None in place of a value that is not finite."""
    return [float(f"{x:.5g}") if math.isfinite(x) else None for x in values]


def _append(blob: bytes, blobs: list[bytes]) -> list[int]:
    """Append a blob; return its offset and its length."""
    offset = sum(map(len, blobs))
    blobs.append(blob)
    return [offset, len(blob)]
