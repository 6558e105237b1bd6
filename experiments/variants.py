"""Variants: what sets the configs of runs apart, and the names that follow from it."""

import json
from pathlib import Path
from typing import Any

from experiments.config import TABLES
from experiments.records import Record

Choices = dict[str, str]
"""Of each part that differs between variants, what was chosen, with its own settings."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A config's leaves by dotted path; a part stands as ``role`` with its name in the table."""
    if not isinstance(config, dict):
        return {prefix.rstrip("."): config}
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "class":
            flat[prefix.rstrip(".")] = part_name(str(value))
        else:
            flat |= flatten(value, f"{prefix}{name}.")
    return flat


def part_name(path: str) -> str:
    """A part's name in its role's table, or that of its class."""
    for table in TABLES.values():
        for name, kind in table.items():
            if isinstance(kind, type) and path == f"{kind.__module__}:{kind.__qualname__}":
                return name
    return path.partition(":")[2].removesuffix("Config") or path


def world_names(records: list[Record]) -> dict[Path, str]:
    """Titles of the runs' worlds; worlds of one title are told apart by what differs."""
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    for record in records:
        world = {k: v for k, v in record.config["env"].items() if k != "protocol"}
        text = json.dumps(world, sort_keys=True)
        kinds.setdefault(record.scores["world"], {})[text] = flatten(world)
    names = {}
    for record in records:
        world = {k: v for k, v in record.config["env"].items() if k != "protocol"}
        title, mine = record.scores["world"], flatten(world)
        all_kinds = kinds[title].values()
        differ = [name for name in mine if len({str(kind.get(name)) for kind in all_kinds}) > 1]
        said = ", ".join(f"{name} {mine[name]}" for name in differ)
        names[record.folder] = f"{title} ({said})" if differ else title
    return names


def choices_of(records: list[Record], baseline: str) -> dict[str, Choices]:
    """What sets each variant apart, the baseline first."""
    flats = {
        record.variant: {path: value for path, value in flatten(record.choices).items() if path}
        for record in records
    }
    chosen = [record.variant for record in records if record.folder.name == baseline]
    first = chosen[0] if chosen else min(flats, key=lambda variant: len(flats[variant]))
    differing = {
        variant: {
            path: f"{path} {value}"
            for path, value in mine.items()
            if len({str(other[path]) for other in flats.values() if _kin(path, mine, other)}) > 1
        }
        for variant, mine in flats.items()
    }
    outermost = [path for each in differing.values() for path in each]
    found = {}
    for variant in [first, *(name for name in flats if name != first)]:
        parts: Choices = {}
        for path, text in differing[variant].items():
            part = min((x for x in outermost if f"{path}.".startswith(f"{x}.")), key=len)
            parts[part] = ", ".join(filter(None, [parts.get(part), text]))
        found[variant] = parts
    return found


def _kin(path: str, mine: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the other variant has this setting of the same part."""
    outer = [path[:i] for i, letter in enumerate(path) if letter == "."]
    return path in other and all(mine.get(role) == other.get(role) for role in outer)
