"""Variants: how the configs of runs differ, and the names derived from the differences."""

import json
from pathlib import Path
from typing import Any

from ..config.registry import TABLES
from .run_results import RunResult

Choices = dict[str, str]
"""The setting of each part that differs between variants, as text."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a config's leaves by dotted path; a part is listed as ``role`` with its name."""
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
    """Return a part's name in its role's table, or the name of its class if it is in none."""
    for table in TABLES.values():
        for name, kind in table.items():
            if isinstance(kind, type) and path == f"{kind.__module__}:{kind.__qualname__}":
                return name
    return path.partition(":")[2].removesuffix("Config") or path


def env_names(results: list[RunResult]) -> dict[Path, str]:
    """Return the env name of each run folder.

    Settings that differ are added to the name of envs that have the same name.
    """
    configs_by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for result in results:
        env = _without_protocol(result)
        text = json.dumps(env, sort_keys=True)
        configs_by_name.setdefault(result.scores["env_name"], {})[text] = flatten(env)
    names = {}
    for result in results:
        name, config = result.scores["env_name"], flatten(_without_protocol(result))
        configs = configs_by_name[name].values()
        differing = [x for x in config if len({str(other.get(x)) for other in configs}) > 1]
        settings = ", ".join(f"{x} {config[x]}" for x in differing)
        names[result.folder] = f"{name} ({settings})" if differing else name
    return names


def variant_choices(results: list[RunResult], baseline: str) -> dict[str, Choices]:
    """Return the settings by which each variant differs from others, the baseline first.

    ``baseline`` is the name of a run folder; by default the variant with the fewest settings.
    """
    flats = {
        result.variant: {
            path: value for path, value in flatten(result.variant_config).items() if path
        }
        for result in results
    }
    named = [result.variant for result in results if result.folder.name == baseline]
    first = named[0] if named else min(flats, key=lambda variant: len(flats[variant]))
    differing = {
        variant: {
            path: f"{path} {value}"
            for path, value in flat.items()
            if len({str(x[path]) for x in flats.values() if _same_part(path, flat, x)}) > 1
        }
        for variant, flat in flats.items()
    }
    paths = [path for each in differing.values() for path in each]
    choices_of = {}
    for variant in [first, *(name for name in flats if name != first)]:
        choices: Choices = {}
        for path, text in differing[variant].items():
            part = min((x for x in paths if f"{path}.".startswith(f"{x}.")), key=len)
            choices[part] = ", ".join(filter(None, [choices.get(part), text]))
        choices_of[variant] = choices
    return choices_of


def _without_protocol(result: RunResult) -> dict[str, Any]:
    return {name: x for name, x in result.config["env"].items() if name != "protocol"}


def _same_part(path: str, flat: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether the other variant has this setting of the same part."""
    outer = [path[:i] for i, letter in enumerate(path) if letter == "."]
    return path in other and all(flat.get(role) == other.get(role) for role in outer)
