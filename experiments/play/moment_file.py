"""Moments: the last timesteps of play in a small file, which another player shows without the run.

A moment is gzipped JSON. It may come from a stranger, so it is read within bounds and compared with
a schema; nothing in it is executed, and no picture is larger than it says.
"""

import base64
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..runs.files import to_json
from ..runs.json_values import parse_compressed
from .history import Entry, Event, History

SUFFIX = ".moment"
MOMENT_FORMAT = 1
MAX_TIMESTEPS = 150
"""Of a saved moment, ten seconds in real time."""
MAX_VIEW_BYTES = 6_000_000
"""Of the views of one player in a saved moment."""
MAX_FILE_BYTES, MAX_BYTES = 16_000_000, 40_000_000
"""Of a file that is read, and of its content."""
MAX_PLAYERS, MAX_ENTRIES, MAX_SIDE = 2, 1000, 1024
MAX_PIXELS, MAX_IMAGES, MAX_MARKS = 4_000_000, 100, 20_000
"""Of a timestep: pixels of all pictures, pictures, and marks and sliders of all panels."""
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

TEXT, NUMBER, TRUTH, COUNT = "text", "number", "truth", "count"
IMAGE = {"size": (COUNT, COUNT), "pixelAspect": NUMBER, "png": TEXT}
DRAWING = {
    "size": (NUMBER, NUMBER),
    "paths": [(TEXT, NUMBER, TEXT)],
    "lines": [(TEXT, TEXT)],
    "texts": [(NUMBER, NUMBER, TEXT, TEXT, TEXT)],
}
PLACED = {
    "left": NUMBER, "top": NUMBER, "width": NUMBER, "height": NUMBER, "image": IMAGE,
    "erasable": TRUTH,
}  # fmt: skip
SLIDER = {
    "title": TEXT, "name": TEXT, "minimum": NUMBER, "maximum": NUMBER, "step": NUMBER,
    "value": NUMBER, "model_value": NUMBER,
}  # fmt: skip
PANEL = {"title": TEXT, "drawing": DRAWING, "images": [PLACED], "sliders": [SLIDER]}
VIEW = {"pictures": [{"caption": TEXT, "image": IMAGE}], "panels": [PANEL], "untrained": [TEXT]}
STATE = {
    "lastAction": TEXT, "score": NUMBER, "length": COUNT, "episode": COUNT, "horizon": COUNT,
    "dreamed": TRUTH, "numReturns": COUNT, "meanReturn": NUMBER, "waiting": TRUTH,
}  # fmt: skip
ENTRY = {
    "event": (COUNT, NUMBER, NUMBER, TRUTH, TRUTH), "state": STATE, "view": VIEW,
    "actions": [COUNT],
}  # fmt: skip
INFO = {
    "run": TEXT, "env": TEXT, "protocol": TEXT, "player": TEXT, "seed": COUNT, "actions": [TEXT],
    "predictor": TRUTH,
}  # fmt: skip
SCHEMA = {"moment": COUNT, "players": [{"info": INFO, "entries": [ENTRY]}]}
"""Keys of an object, kinds of a row in a tuple, and in a list the kind of all its items."""


def moment(players: Iterable[tuple[dict[str, Any], History, int]]) -> bytes:
    """Return the content of a file: the timesteps until the shown one, as many of each player.

    ``players`` holds what the page knows of each, its history and the timestep.
    """
    shown = []
    found = [
        (info, history.before(timestep, MAX_TIMESTEPS, MAX_VIEW_BYTES))
        for info, history, timestep in players
    ]
    count = min(len(entries) for _, entries in found)
    for info, kept in found:
        entries = kept[-count:]
        packed = [
            {
                "event": entry.event,
                "state": entry.state,
                "view": json.loads(entry.packed_view),
                # Those of the episode until the first timestep, and then of each the last.
                "actions": entry.actions[: entry.state["length"]][-1 if i else 0 :],
            }
            for i, entry in enumerate(entries)
        ]
        shown.append({"info": {name: info[name] for name in INFO}, "entries": packed})
    content = to_json({"moment": MOMENT_FORMAT, "players": shown}).encode()
    compressor = zlib.compressobj(6, wbits=31)
    return compressor.compress(content) + compressor.flush()


def read_moment_file(path: Path) -> list[tuple[dict[str, Any], History]]:
    """Read a file within bounds; raises UsageError if it cannot be read or is no moment."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}).") from error
    return read_moment(content, str(path))


def read_moment(content: bytes, name: str) -> list[tuple[dict[str, Any], History]]:
    """Return what the page shows of each player of a moment, and its history.

    Raises UsageError, which names the file, for content that is damaged, too large or anything else
    than a moment of this format.
    """
    remedy = f"choose a file that the page's Share button has saved, with the suffix {SUFFIX}"
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{name} has more than {MAX_FILE_BYTES / 1e6:g} MB; {remedy}.")
    try:
        data = parse_compressed(content, 31, MAX_BYTES)
        if isinstance(data, dict) and data.get("moment") not in (None, MOMENT_FORMAT):
            raise ValueError(f"it has a format other than {MOMENT_FORMAT}")
        if reason := mismatch(data, SCHEMA):
            raise ValueError(reason)
        if not 1 <= len(data["players"]) <= MAX_PLAYERS:
            raise ValueError(f"it has {len(data['players'])} players")
        return [(player["info"], _history(player["entries"])) for player in data["players"]]
    except ValueError as error:
        reason = str(error).splitlines()[0][:120]
        raise UsageError(f"{name} is no moment of play ({reason}); {remedy}.") from error


def mismatch(value: Any, schema: Any, place: str = "it") -> str:
    """Return where a parsed value departs from a schema, or an empty string."""
    match schema:
        case dict():
            if not isinstance(value, dict) or value.keys() != schema.keys():
                return f"{place} lacks keys, or has others"
            parts = [(value[name], kind, f"{place}.{name}") for name, kind in schema.items()]
        case tuple():
            if not isinstance(value, list) or len(value) != len(schema):
                return f"{place} has not {len(schema)} items"
            parts = [(x, kind, place) for x, kind in zip(value, schema, strict=True)]
        case [kind]:
            if not isinstance(value, list):
                return f"{place} is no list"
            parts = [(x, kind, f"{place}[{i}]") for i, x in enumerate(value)]
        case _:
            return "" if _is(value, schema) else f"{place} is no {schema}"
    reason = next(filter(None, (mismatch(*part) for part in parts)), "")
    return reason or (_image_mismatch(value, place) if schema is IMAGE else "")


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "truth":
            return isinstance(value, bool)
        case "count":
            return type(value) is int and 0 <= value < 2**53
    # A number that is not finite is null in JSON.
    return value is None or (type(value) in (int, float) and abs(value) < 1e300)


def _image_mismatch(image: dict[str, Any], place: str) -> str:
    """Return why an image is none of at most ``MAX_SIDE`` pixels per side, or an empty string."""
    width, height = image["size"]
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return f"{place} has {width} x {height} pixels"
    try:
        start = base64.b64decode(image["png"][:40], validate=True)
    except ValueError:
        return f"{place} is not in base64"
    if start[:16] != PNG_START or struct.unpack(">II", start[16:24]) != (width, height):
        return f"{place} is no PNG of {width} x {height} pixels"
    return ""


def _history(entries: list[dict[str, Any]]) -> History:
    """Return the history of consecutive timesteps; raises ValueError for others."""
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise ValueError(f"a player has {len(entries)} timesteps")
    history = History()
    for entry in entries:
        event = Event(*entry["event"])
        if history.entries and event.timestep != history.entries[-1].event.timestep + 1:
            raise ValueError("its timesteps are not consecutive")
        _check_size(entry["view"])
        history.add(Entry(event, entry["state"], to_json(entry["view"]).encode()))
    return history


def _check_size(view: dict[str, Any]) -> None:
    """Raise ValueError for a view that has more than a page can show."""
    panels = view["panels"]
    images = [x["image"] for x in view["pictures"]]
    images += [x["image"] for panel in panels for x in panel["images"]]
    drawings = [panel["drawing"] for panel in panels]
    marks = sum(len(x["paths"]) + len(x["lines"]) + len(x["texts"]) for x in drawings)
    marks += sum(len(panel["sliders"]) for panel in panels) + len(panels) + len(view["untrained"])
    pixels = sum(x["size"][0] * x["size"][1] for x in images)
    found = {"pixels": pixels, "pictures": len(images), "marks": marks}
    allowed = MAX_PIXELS, MAX_IMAGES, MAX_MARKS
    for (name, count), most in zip(found.items(), allowed, strict=True):
        if count > most:
            raise ValueError(f"a timestep has {count:,} {name}, more than {most:,}")
