"""Configs as JSON values; each dataclass is stored with the path of its class.

A stored class of this package is imported when it is decoded. No other module ever is.
"""

import contextlib
import hashlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from typeguard import TypeCheckError, check_type

from ...envs.errors import UsageError

C = TypeVar("C")


def encode(config: Any) -> Any:
    """Return a config as JSON values."""
    if is_dataclass(config) and not isinstance(config, type):
        kind = type(config)
        values = {field.name: encode(getattr(config, field.name)) for field in fields(config)}
        return {"class": f"{kind.__module__}:{kind.__qualname__}"} | values
    if isinstance(config, tuple):
        return [encode(item) for item in config]
    return config


def decode(base: type[C], data: dict[str, Any]) -> C:
    """Return the config that ``encode`` stored; invert ``encode``.

    Only ``base`` and its subclasses are accepted. Raises UsageError for another class, an
    unknown field or a value of a wrong type.
    """
    path = data.get("class")
    kinds = _subclasses_by_path(base)
    if path not in kinds and _import_own_module(path):
        kinds = _subclasses_by_path(base)
    if path not in kinds:
        raise UsageError(
            f"The config names {path}, which is no known {base.__name__}; "
            "if it is a part of your own, import its module first (--import my_module)."
        )
    kind, hints = kinds[path], get_type_hints(kinds[path])
    unknown = set(data) - set(hints) - {"class"}
    if unknown:
        raise UsageError(f"The config of {path} has unknown fields: {', '.join(sorted(unknown))}.")
    values = {}
    for name, value in data.items():
        if name == "class":
            continue
        if isinstance(value, dict):
            if not is_dataclass(hints[name]):
                raise UsageError(f"The config of {path} has a part as its {name}.")
            value = decode(hints[name], value)
        else:
            value = _tuples(value)
        try:
            values[name] = check_type(value, hints[name])
        except TypeCheckError as error:
            raise UsageError(f"The config of {path} has a wrong {name}: {error}.") from error
        if isinstance(value, bool) and hints[name] in (int, float):
            raise UsageError(f"The config of {path} has a wrong {name}: {value} is no number.")
    return kind(**values)


def fingerprint(config: Any) -> str:
    """Return six hexadecimal digits of everything in a config but its length of training."""
    lengths = dict.fromkeys(("total_timesteps", "num_updates"), 1)
    text = json.dumps(encode(config) | lengths, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _import_own_module(path: Any) -> bool:
    """Import the module of a class path if it belongs to this package; return whether it does."""
    module = str(path).partition(":")[0]
    own = module.startswith(f"{__name__.partition('.')[0]}.")
    if own:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    return own


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _subclasses_by_path(base: type[C]) -> dict[str, type[C]]:
    return {f"{kind.__module__}:{kind.__qualname__}": kind for kind in _subclasses(base)}


def _subclasses(base: type[C]) -> Iterator[type[C]]:
    yield base
    for child in base.__subclasses__():
        yield from _subclasses(child)
