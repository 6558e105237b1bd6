"""Differences of encoded configs, as run folders store them."""

from collections.abc import Callable
from typing import Any


def config_differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the differences of two encoded configs as lines "path: a, not b".

    Of parts of different classes only the classes are compared.
    """
    flat_a, flat_b = flatten(a), flatten(b)
    paths = [x for x in dict.fromkeys([*flat_a, *flat_b]) if flat_a.get(x) != flat_b.get(x)]
    return [
        f"{path or 'class'}: {flat_a.get(path, 'absent')}, not {flat_b.get(path, 'absent')}"
        for path in paths
        if not any(path != part and f"{path}.".startswith(part and f"{part}.") for part in paths)
    ]


def flatten(
    config: dict[str, Any], part_name: Callable[[dict[str, Any]], str] | None = None
) -> dict[str, Any]:
    """Return a config's leaves by dotted path; a part is a leaf too, by default its class.

    ``part_name`` gives the name of a part by its stored values. The path of the config itself is
    empty.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "class":
            flat[""] = part_name(config) if part_name else value
        elif isinstance(value, dict):
            inner = flatten(value, part_name)
            flat |= {f"{name}.{path}".rstrip("."): leaf for path, leaf in inner.items()}
        else:
            flat[name] = value
    return flat
