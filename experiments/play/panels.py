"""Panels: what there is to see of a run at a tick, as data that any page or film can draw.

A message is a JSON text and the pictures it points into, as PNG: exact, and small for games.
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
"""[H, W] grey or [H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and what it is called."""

    image: Image
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Images:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """A number for each label; one that is not finite is not known yet."""

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    chosen: int = -1
    """The label that is marked, if any."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells from 0 to 1, a column a tick to come."""

    title: str
    labels: tuple[str, ...]
    values: NDArray[np.float32]
    """[rows, columns]."""
    marks: tuple[str, ...] = ()
    """Labels of the rows that are drawn in the colour of what is marked."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers in time, oldest first, one series a name."""

    title: str
    series: dict[str, tuple[float, ...]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Names and what they are now."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Slider:
    """A number that whoever watches may choose; None is what the model itself says."""

    title: str
    name: str
    low: float
    high: float
    step: float
    value: float | None
    own: float
    """Where the model itself stands."""


Panel = Images | Bars | Matrix | Line | Numbers | Slider


@dataclass(frozen=True, slots=True)
class View:
    """All there is to see at a tick: the stage, and the insides beside it."""

    stage: Images
    insides: tuple[Panel, ...] = ()


def pack(about: dict[str, Any], body: bytes) -> bytes:
    """A message: the length of a JSON text, the text, and a packed view."""
    text = json.dumps(about).encode()
    return struct.pack("<I", len(text)) + text + body


def pack_view(view: View) -> bytes:
    """The length of a JSON text, the text, and the PNGs that it points to."""
    blobs: list[bytes] = []
    panels = [_plain(panel, blobs) for panel in (view.stage, *view.insides)]
    text = json.dumps(panels).encode()
    return struct.pack("<I", len(text)) + text + b"".join(blobs)


def unpack(message: bytes) -> tuple[dict[str, Any], list[dict[str, Any]], bytes]:
    """What a message is about, its panels, and the bytes of its pictures."""
    about, rest = _text(message)
    panels, blobs = _text(rest)
    return about, panels, blobs


def _text(message: bytes) -> tuple[Any, bytes]:
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def _plain(panel: Panel, blobs: list[bytes]) -> dict[str, Any]:
    plain: dict[str, Any] = {"kind": type(panel).__name__.lower(), "title": panel.title}
    if isinstance(panel, Images):
        plain["pictures"] = [
            {
                "caption": picture.caption,
                "size": [picture.image.shape[1], picture.image.shape[0]],
                "at": _add(png(picture.image), blobs),
            }
            for picture in panel.pictures
        ]
    elif isinstance(panel, Bars):
        plain |= {"labels": panel.labels, "values": _known(panel.values), "chosen": panel.chosen}
    elif isinstance(panel, Matrix):
        cells = (panel.values.clip(0, 1) * 99).round().astype(int).tolist()
        plain |= {"labels": panel.labels, "cells": cells, "marks": panel.marks}
    elif isinstance(panel, Line):
        plain["series"] = {name: _known(values) for name, values in panel.series.items()}
    elif isinstance(panel, Numbers):
        plain["rows"] = panel.rows
    else:
        fields = ("name", "low", "high", "step", "value", "own")
        return plain | {name: getattr(panel, name) for name in fields}
    return plain | {"note": panel.note}


def _known(values: Iterable[float]) -> list[float | None]:
    return [float(f"{x:.5g}") if math.isfinite(x) else None for x in values]


def _add(blob: bytes, blobs: list[bytes]) -> list[int]:
    begin = sum(map(len, blobs))
    blobs.append(blob)
    return [begin, len(blob)]


def png(image: Image) -> bytes:
    """A PNG, quickly made."""
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
    return file.getvalue()
