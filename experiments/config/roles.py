"""The parts of a config: which roles it has, what fills them, and how others are chosen by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from typing import Any, TypeVar, get_type_hints

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from .registry import TABLES, class_name, part_class, registered_class, resolve

C = TypeVar("C")
UNKNOWN = "unknown"
"""Name of the class of a stored part that lacks it."""


def roles(config: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every role of a config as (dotted path, table), outer roles first."""
    kinds = get_type_hints(type(config))
    for field in fields(config):
        kind = kinds[field.name]
        if kind in TABLES:
            yield prefix + field.name, TABLES[kind]
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from roles(value, f"{prefix}{field.name}.")


def part_name(part: Any) -> str:
    """Return the name of a part in its role's table.

    ``part`` is a config, or the JSON values in which a run folder stores it. Of the entries of its
    class, it is the one with the most settings in common. A class that is not registered has its
    own name.
    """
    stored = _class_of(part)
    entries = [x for table in TABLES.values() for x in table.items() if class_name(x[1]) == stored]
    if len(entries) < 2:
        return entries[0][0] if entries else stored.rpartition(":")[2].removesuffix("Config")
    settings = dict(_settings(part))

    def num_different(entry: Any) -> int:
        usual = _settings(entry_config(entry))
        return sum(value != settings.get(path) for path, value in usual)

    return min(entries, key=lambda x: num_different(x[1]))[0]


def entry_config(entry: Any) -> Any:
    """Return the config of a table's entry, of a class with its default settings."""
    entry = resolve(entry)
    return entry() if isinstance(entry, type) else entry


def part_at(config: Any, path: str) -> Any:
    """Return the part of a config that fills the role at a dotted path."""
    return reduce(getattr, path.split("."), config)


def path_of(config: Any, kind: type) -> str:
    """Return the dotted path, from a role on, of the first part of a class, or else ``agent``."""
    paths = (path for path, part in _parts(config) if type(part) is kind)
    return next(paths, "agent").removeprefix("job.")


def references(job: Any) -> dict[str, str]:
    """Return the privileged references of a job by the dotted path of their role.

    ``job`` is a config, or the JSON values in which a run folder stores it; there a part that is
    not registered counts as none.

    Example::

        from reverie.experiments.config.presets import PRESETS
        from reverie.experiments.config.roles import choose_all, references

        job = choose_all(PRESETS["dqn"], ["env:catch", "bonus:true-counts"])
        assert references(job) == {"bonus": "true-counts"}
    """
    parts = ((path, part, _kind(part)) for path, part in _parts(job) if path)
    return {path: part_name(part) for path, part, kind in parts if kind and is_reference(kind)}


def is_reference(part: Any) -> bool:
    """Return whether a part's config, or its class, is that of a privileged reference.

    Such a part reads the true state, or it steps snapshots of the env.
    """
    return any(getattr(part, x, False) for x in ("needs_privileged", "needs_snapshots"))


def _parts(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a config, or its JSON values, and the configs in it, by dotted path."""
    if is_dataclass(config) or (isinstance(config, dict) and "class" in config):
        yield path, config
        for name, value in _fields(config):
            yield from _parts(value, f"{path}.{name}" if path else name)


def _settings(part: Any) -> Iterator[tuple[str, str]]:
    """Yield the classes and the other settings of a part by dotted path, as text."""
    for path, inner in _parts(part):
        yield f"{path}.class", _class_of(inner)
        for name, value in _fields(inner):
            if not is_dataclass(value) and not isinstance(value, dict):
                yield f"{path}.{name}", str(list(value) if isinstance(value, tuple) else value)


def _class_of(part: Any) -> str:
    """Return the name of the class of a part, or of its JSON values."""
    return str(part.get("class", UNKNOWN)) if isinstance(part, dict) else class_name(type(part))


def _kind(part: Any) -> Any:
    """Return the class of a part; None if its JSON values name none that is registered."""
    return registered_class(part.get("class")) if isinstance(part, dict) else type(part)


def _fields(part: Any) -> Iterator[tuple[str, Any]]:
    values = part if isinstance(part, dict) else vars(part)
    return ((name, value) for name, value in values.items() if name != "class")


def choose_all(config: C, tokens: list[str]) -> C:
    """Apply ``role:name`` tokens: outer roles together, then inner ones by depth.

    Raises UsageError for an unknown role or part, or a role that is chosen twice.
    """
    check_repeats(tokens)
    pairs = [(path, name) for path, _, name in (token.partition(":") for token in tokens)]
    outer = {path: _entry(config, path, name) for path, name in pairs if "." not in path}
    # Together, as an agent may refuse the bonus that the previous one had.
    config = replace(config, **outer)  # type: ignore[type-var]
    inner = [(path, name) for path, name in pairs if "." in path]
    for path, name in sorted(inner, key=lambda pair: pair[0].count(".")):
        config = _replace_at(config, path, _entry(config, path, name))
    return config


def check_repeats(tokens: Sequence[str]) -> None:
    """Raise UsageError, which names both, if two ``role:name`` tokens are for one role."""
    chosen = dict[str, str]()
    for token in tokens:
        path = token.partition(":")[0]
        if path in chosen:
            raise UsageError(f"{path} is chosen twice, by {chosen[path]} and {token}; keep one.")
        chosen[path] = token


def _entry(config: Any, path: str, name: str) -> Any:
    known = dict(roles(config))
    if path not in known:
        parent, _, role = path.rpartition(".")
        owners = [x for x, entry in known.get(parent, {}).items() if _has_role(entry, role)]
        if owners:
            raise UsageError(
                f"There is no role '{path}'. {parent}:{' or '.join(owners)} has it, and the "
                f"{parent} here is {part_name(part_at(config, parent))}."
            )
        hint = did_you_mean(path, known) or f" The roles here are {', '.join(known)}."
        raise UsageError(f"There is no role '{path}'.{hint}")
    return named_part(known[path], path, name, part_at(config, path))


def _has_role(entry: Any, role: str) -> bool:
    """Return whether the part of a table's entry has a role of a name."""
    return get_type_hints(part_class(entry)).get(role) in TABLES


def named_part(table: Mapping[str, Any], path: str, name: str, current: Any) -> Any:
    """Return the named part of a role's table; one of the current part's class keeps its settings.

    ``path`` is that of the role. Raises UsageError for an unknown name.
    """
    if name not in table:
        hint = (
            _as_a_part(table, path, name)
            or did_you_mean(name, table)
            or f" Choose among {', '.join(table)}; --import MODULE adds parts of your own."
        )
        raise UsageError(f"There is no {path} '{name}'.{hint}")
    entry = resolve(table[name])
    if not isinstance(entry, type):
        return entry
    return current if type(current) is entry else entry()


def _as_a_part(table: Mapping[str, Any], path: str, name: str) -> str:
    """Return the hint that an entry of a table has a role which ``name`` fills, or ""."""
    for owner, entry in table.items():
        for role, kind in get_type_hints(part_class(entry)).items():
            if kind in TABLES and name in TABLES[kind]:
                return f" It can be {path}.{role} with {path} {owner}."
    return ""


def _replace_at(config: Any, path: str, entry: Any) -> Any:
    head, _, rest = path.partition(".")
    inner = _replace_at(getattr(config, head), rest, entry) if rest else entry
    return replace(config, **{head: inner})
