"""What the files of other formats keep of a recording: its manifest, its envs, its provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..config.serialization import decode_file, encode
from ..datasets.writer import Manifest
from ..runs.files import FORMAT, check_format, to_json
from ..runs.json_values import parse_json
from .recorded_episodes import Source

MAX_BYTES = 1 << 26
"""Greatest length of a header."""


@dataclass(frozen=True)
class Header:
    """The header of a file that was written from a recording."""

    manifest: Manifest
    per_env: tuple[int, ...]
    unfinished: frozenset[int]
    """Indices of the episodes that were not recorded to their ends."""
    provenance: dict[str, Any]


def header_text(source: Source, unfinished: Sequence[int], folder: Path) -> str:
    """Return the header of episodes as JSON, to be stored in a folder."""
    manifest = {x: y for x, y in encode(source.manifest, folder).items() if x != "shards"}
    data = {
        "format": FORMAT,
        "manifest": manifest,
        "episodes_per_env": list(source.per_env),
        "unfinished": list(unfinished),
        "provenance": source.provenance,
    }
    return to_json(data)


def read_header(path: Path, text: str, shape: Sequence[int], num_actions: int) -> Header:
    """Return the header that a file holds.

    Raises UsageError if it is damaged, or is of other frames or fewer actions than the file has.
    """
    try:
        data = parse_json(text, MAX_BYTES)
        check_format(path, data["format"], "convert the recording again")
        names = {"class", *(field.name for field in fields(Manifest))} - {"shards"}
        own = {name: x for name, x in data["manifest"].items() if name in names}
        manifest = decode_file(Manifest, path, own, own.get("imports", ()))
        header = Header(
            manifest,
            tuple(map(int, data["episodes_per_env"])),
            frozenset(map(int, data["unfinished"])),
            dict(data["provenance"]),
        )
    except UsageError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UsageError(f"The header of {path} is damaged ({error}).") from error
    if manifest.frame_shape != tuple(shape) or manifest.num_actions < num_actions:
        raise UsageError(
            f"{path} has frames {tuple(shape)} and {num_actions} actions, but its header lists "
            f"{manifest.frame_shape} and {manifest.num_actions}; convert the recording again."
        )
    if min(header.per_env, default=1) < 0 or sum(header.per_env) > 1 << 32:
        raise UsageError(f"The header of {path} is damaged (its numbers of episodes).")
    return header
