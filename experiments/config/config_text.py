"""The text of a config file: every setting as it is resolved, with its help as a comment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from ..text.terminal_text import paragraph
from .config_file import NULLS, is_flat, typed_fields
from .field_texts import field_texts, part_text
from .registry import TABLES
from .roles import part_name

PLAIN = re.compile(r"[\w./][\w./ +-]*(?<! )", re.ASCII)
"""Texts that need no quotation marks in YAML."""
UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]|[\\\"]")

Setting = tuple[str, Any, Any, str]
"""A setting's key, its value, its type and its help."""


def config_text(
    head: Mapping[str, Any],
    *configs: Any,
    hidden: Sequence[str] = (),
    spaces: Mapping[str, str] | None = None,
) -> str:
    """Return the YAML of some keys and of all settings of these configs, with comments.

    ``ConfigFile.apply`` inverts it for each config. What is empty in ``head`` is left out, and so
    is a setting that an earlier config has, too, or that is ``hidden``. ``spaces`` are ranges and
    several values, separated by commas, by the dotted path of their setting.
    """
    lines = [f"{name}: {value_text(value)}" for name, value in head.items() if value]
    seen = {*head, *hidden, "imports"}
    for config in configs:
        own = [setting for setting in _settings(config) if setting[0] not in seen]
        seen |= {name for name, *_ in own}
        lines += ["", *_lines(own, "", spaces or {})]
    return "\n".join(lines).strip("\n") + "\n"


def _settings(config: object) -> list[Setting]:
    """Return the settings of a config, with parts and mappings last."""
    kind: Any = type(config)
    found, texts = list[Setting](), field_texts(kind)
    for field, hint in typed_fields(config):
        value = getattr(config, field.name)
        if is_flat(hint):
            found += _settings(value)
        else:
            found.append((field.name, value, hint, texts.get(field.name, "")))
    return sorted(found, key=lambda setting: is_dataclass(setting[1]))


def _lines(
    settings: Sequence[Setting], indent: str, spaces: Mapping[str, str], path: str = ""
) -> Iterator[str]:
    for name, value, kind, help_text in settings:
        where = f"{path}{name}"
        if not is_dataclass(value):
            values = spaces.get(where, "").split(",")
            text = value_text(value) if where not in spaces else values[0]
            yield from _comment(help_text, indent)
            yield f"{indent}{name}: {value_text(values) if len(values) > 1 else text}"
            continue
        inner, text, part = _settings(value), part_text(type(value)), ""
        if kind in TABLES:
            part = part_name(value)
            inner = [setting for setting in inner if setting[0] != "name"]
        yield ""
        yield from _comment(text, indent)
        if part and not inner:
            yield f"{indent}{name}: {part}"
            continue
        yield f"{indent}{name}:"
        yield from [f"{indent}  name: {part}"] * bool(part)
        yield from _lines(inner, f"{indent}  ", spaces, f"{where}.")


def _comment(text: str, indent: str) -> Iterator[str]:
    lines = paragraph(text, len(indent) + 2).splitlines()
    yield from (f"{indent}# {line.strip()}" for line in lines)


def value_text(value: Any) -> str:
    """Return a value in YAML, on one line; ``read_value`` inverts it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{x}: {value_text(y)}' for x, y in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(value_text, value))}]"
    text = str(value)
    null = text.lower() in NULLS and (text != "none" or isinstance(value, Path))
    if PLAIN.fullmatch(text) and not null:
        return text
    return f'"{UNPRINTABLE.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '\\"' else f"\\U{ord(character):08x}"
