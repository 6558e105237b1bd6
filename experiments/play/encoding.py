"""Messages to the page: states, and views as JSON, with images as PNG in base64.

A drawing travels as numbers and texts, from which the page builds its elements: nothing that the
page shows is parsed as HTML. PNG is lossless, and small for the screens of games.
"""

import base64
import io
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image as Pillow

from ..evaluation.images import pixel_aspect
from ..evaluation.video import Image
from ..inspectors.panels import Images, Panel, View
from ..runs.files import to_json
from .drawing import WIDTH, Box, Drawing, Line, PlacedImage, Text, draw


def pack(state: dict[str, Any], packed_view: bytes) -> bytes:
    """Encode a player's state and an encoded view as JSON."""
    return b'{"state": %b, "view": %b}' % (to_json(state).encode(), packed_view)


def pack_players(players: Iterable[bytes]) -> bytes:
    """Encode the messages of players that are shown beside each other as one."""
    return b'{"players": [%b]}' % b", ".join(players)


def pack_view(view: View) -> bytes:
    """Encode the main pictures, the panels and the reasons of a view as JSON."""
    pictures = [{"caption": x.caption, "image": _image_to_json(x.image)} for x in view.pictures]
    panels = [_panel_to_json(panel) for panel in view.panels]
    packed = {"pictures": pictures, "panels": panels, "untrained": [*view.untrained]}
    return to_json(packed).encode()


def drawing_to_json(drawing: Drawing) -> dict[str, Any]:
    """Return the marks of a drawing but its images: boxes as one path per style and opacity."""
    boxes: dict[tuple[str, float], list[str]] = {}
    lines: list[list[Any]] = []
    texts: list[list[Any]] = []
    for mark in drawing.marks:
        match mark:
            case Box(x, y, width, height, style, opacity):
                path = f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h-{width:.1f}z"
                boxes.setdefault((style, opacity), []).append(path)
            case Line(points, style):
                lines.append([style, " ".join(f"{x:.1f},{y:.1f}" for x, y in points)])
            case Text(x, y, text, style, anchor):
                texts.append([round(x, 1), round(y, 1), text, style, anchor])
    paths = [[style, opacity, "".join(parts)] for (style, opacity), parts in boxes.items()]
    return {"size": [WIDTH, drawing.height], "paths": paths, "lines": lines, "texts": texts}


def _panel_to_json(panel: Panel) -> dict[str, Any]:
    """Encode a panel as its drawing and sliders; an image's rectangle is in percent of it."""
    drawing = draw(panel)
    images = [
        {
            "left": 100 * mark.x / WIDTH,
            "top": 100 * mark.y / drawing.height,
            "width": 100 * mark.width / WIDTH,
            "height": 100 * mark.height / drawing.height,
            "image": _image_to_json(mark.image),
            "erasable": mark.erasable,
        }
        for mark in drawing.marks
        if isinstance(mark, PlacedImage)
    ]
    sliders = [asdict(slider) for slider in panel.sliders] if isinstance(panel, Images) else []
    marks = drawing_to_json(drawing)
    return {"title": panel.title, "drawing": marks, "images": images, "sliders": sliders}


def _image_to_json(image: Image) -> dict[str, Any]:
    """Encode an image as PNG, at the fastest compression level, in base64."""
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
    png = base64.b64encode(file.getvalue()).decode()
    return {"size": [*image.shape[1::-1]], "pixelAspect": pixel_aspect(image), "png": png}
