"""Messages to the page: the state as JSON, drawings as SVG, and images as PNG in base64.

PNG is lossless, and small for the screens of games.
"""

import base64
import io
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np
from PIL import Image as Pillow

from ..evaluation.images import pixel_aspect
from ..evaluation.video import Image
from ..inspectors.panels import Images, Panel, View
from ..runs.files import to_json
from .drawing import WIDTH, Box, Drawing, Line, PlacedImage, Text, draw


def pack(state: dict[str, Any], packed_view: bytes) -> bytes:
    """Encode a message of the session's state and an encoded view as JSON."""
    return b'{"state": %b, "view": %b}' % (to_json(state).encode(), packed_view)


def pack_view(view: View) -> bytes:
    """Encode the main pictures, the panels and the reasons of a view as JSON."""
    pictures = [{"caption": x.caption, "image": _to_json(x.image)} for x in view.pictures]
    panels = [_panel_to_json(panel) for panel in view.panels]
    packed = {"pictures": pictures, "panels": panels, "untrained": view.untrained}
    return to_json(packed).encode()


def to_svg(drawing: Drawing) -> str:
    """Return the marks of a drawing but its images as SVG; styles are the classes of elements."""
    elements: list[str] = []
    boxes: dict[tuple[str, float], list[str]] = {}  # one path for all boxes of a style
    for mark in drawing.marks:
        match mark:
            case Box(x, y, width, height, style, opacity):
                path = f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.0f}h-{width:.1f}z"
                boxes.setdefault((style, opacity), []).append(path)
            case Line(points, style):
                path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
                elements.append(f'<polyline class="{style}" points="{path}"/>')
            case Text(x, y, text, style, anchor):
                anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
                position = f'class="{style}" x="{x:.1f}" y="{y:.1f}"{anchored}'
                elements.append(f"<text {position}>{escape(text)}</text>")
    paths = (
        f'<path class="{style}" opacity="{opacity:g}" d="{"".join(parts)}"/>'
        for (style, opacity), parts in boxes.items()
    )
    size = f'viewBox="0 0 {WIDTH:g} {drawing.height:g}"'
    return f"<svg {size}>{''.join(paths)}{''.join(elements)}</svg>"


def _panel_to_json(panel: Panel) -> dict[str, Any]:
    """Encode a panel as its drawing and sliders; an image's rectangle is in percent of it."""
    drawing = draw(panel)
    images = [
        {
            "left": 100 * mark.x / WIDTH,
            "top": 100 * mark.y / drawing.height,
            "width": 100 * mark.width / WIDTH,
            "height": 100 * mark.height / drawing.height,
            "image": _to_json(mark.image),
            "erasable": mark.erasable,
        }
        for mark in drawing.marks
        if isinstance(mark, PlacedImage)
    ]
    sliders = [asdict(slider) for slider in panel.sliders] if isinstance(panel, Images) else []
    return {"title": panel.title, "svg": to_svg(drawing), "images": images, "sliders": sliders}


def _to_json(image: Image) -> dict[str, Any]:
    """Encode an image as PNG, at the fastest compression level, in base64."""
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
    png = base64.b64encode(file.getvalue()).decode()
    return {"size": image.shape[1::-1], "pixelAspect": pixel_aspect(image), "png": png}
