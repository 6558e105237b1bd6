"""Config files: what flags set, written as a mapping in YAML or JSON.

A key is a flag's name, a part is its name or a mapping with ``name`` and settings. A text becomes
what the setting's type asks for, as it does on the command line::

    preset: mfec
    game: ms_pacman
    agent:
      representation: {name: vae, latent: {size: 16}}
"""

import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ...agents.interface import AgentConfig, settings_at
from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from .arguments import import_modules, take_flag
from .registry import TABLES
from .roles import named_part
from .yaml_nodes import Node, read_nodes

C = TypeVar("C")

SUFFIXES = (".yaml", ".yml", ".json")
TRUTH_VALUES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NULLS = ("", "~", "null", "none")


class ConfigFile:
    """The values of a config file, of which each consumer takes its own.

    ``path`` may be that of a run folder, or of a copy of its ``config.json``: then ``is_run`` is
    set. ``nodes`` are the values that are left, and ``known`` the keys that any consumer could have
    taken. Without a path there are none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.nodes, self.known = dict[str, Node](), set[str]()
        self.space_of: Callable[[Node, Any], str | None] = lambda node, kind: None
        """Returns the text of a value that is a range or several ones; ``spaces`` collects them."""
        self.spaces: dict[str, str] = {}
        self.owners: dict[str, str] = {}  # of the keys of parts, for the error about one at the top
        self.is_run = path is not None and (path.is_dir() or path.suffix not in SUFFIXES)
        if path is not None and path.name == "config.json":
            self.path, self.is_run = path.parent, True
        elif path is not None and not self.is_run:
            nodes = read_nodes(path)
            self.is_run = "class" in nodes
            self.nodes = {} if self.is_run else nodes

    def take(self, name: str) -> Node | None:
        """Remove and return the value of a key, if there is one."""
        self.known.add(name)
        return self.nodes.pop(name, None)

    def take_text(self, name: str) -> str | None:
        """Remove and return the text of a key, if there is one; raises UsageError for another."""
        node = self.take(name)
        return None if node is None else self._read(node, str, name)

    def take_lists(self, name: str) -> dict[str, list[str]]:
        """Remove and return the mapping of a key to texts or lists of texts; empty if it is none.

        Raises UsageError for another value.
        """
        node = self.take(name) or Node({}, 0)
        if not isinstance(node.value, dict):
            self._refuse(node, f"{name} is {node}; it is a mapping of names to lists")
        pairs = ((x, y.value if isinstance(y.value, list) else [y]) for x, y in node.value.items())
        return {x: [self._read(y, str, f"{name}.{x}") for y in values] for x, values in pairs}

    def take_imports(self) -> tuple[str, ...]:
        """Import the modules of the key ``import``, and return their names."""
        node = self.take("import")
        names: tuple[str, ...] = () if node is None else self._read(node, tuple[str, ...], "import")
        import_modules(names)
        return names

    def move_into(self, role: str, *names: str) -> None:
        """Move keys into the mapping of a role, whose settings they are: ``game`` is env.game."""
        for name in names:
            if (node := self.take(name)) is None:
                continue
            part = self.nodes.get(role, Node({}, node.line))
            settings = self._settings(part, role)
            if name in settings:
                self._refuse(node, f"{role}.{name} stands in line {settings[name].line}, too")
            self.nodes[role] = replace(part, value=settings | {name: node})

    def apply(self, config: C, *, without: Iterable[str] = ()) -> C:
        """Return a config with the values of its fields, which are removed.

        ``without`` are fields that are no keys. Raises UsageError, which names the key and its
        line, for an unknown key or a value that the config refuses.
        """
        names = {name for name in keys_of(config) if name not in without}
        self.known |= names
        for name in names:
            if is_dataclass(part := getattr(config, name, None)):
                self.owners |= dict.fromkeys(keys_of(part), name)
        own = {name: self.nodes.pop(name) for name in [*self.nodes] if name in names}
        return self._applied(config, own, "") if own else config

    def check_empty(self) -> None:
        """Raise UsageError, with the nearest key, if a value is left that nobody took."""
        for name, node in self.nodes.items():
            self._refuse_key(name, node, "", self.known)

    def _applied(self, config: Any, nodes: dict[str, Node], path: str) -> Any:
        changes: dict[str, Any] = {}
        left = dict(nodes)
        for field, kind in typed_fields(config):
            value = getattr(config, field.name)
            if is_flat(kind):
                own = {name: left.pop(name) for name in [*left] if name in keys_of(value)}
                changes |= {field.name: self._applied(value, own, path)} if own else {}
            elif field.name in left:
                node, where = left.pop(field.name), f"{path}{field.name}"
                if (space := self.space_of(node, kind)) is not None:
                    self.spaces[where] = space
                else:
                    changes[field.name] = self._value(value, kind, node, where)
        for name, node in left.items():
            self._refuse_key(name, node, path, keys_of(config))
        try:
            with settings_at(
                path.removesuffix(".") if isinstance(config, AgentConfig) else "agent"
            ):
                return replace(config, **changes)
        except UsageError as error:
            culprit = str(error).partition(" ")[0].rpartition(".")[2]
            node = nodes.get(culprit, min(nodes.values(), key=lambda x: x.line))
            self._refuse(node, str(error))

    def _value(self, current: Any, kind: Any, node: Node, path: str) -> Any:
        if kind in TABLES:
            return self._part(current, kind, node, path)
        if is_dataclass(current):
            if not isinstance(node.value, dict):
                self._refuse(node, f"{path} is {node}; it is a mapping of settings")
            return self._applied(current, node.value, f"{path}.")
        return self._read(node, kind, path)

    def _part(self, current: Any, role: type, node: Node, path: str) -> Any:
        settings = self._settings(node, path)
        if "name" in settings:
            name = settings.pop("name")
            try:
                current = named_part(TABLES[role], path, self._read(name, str, "name"), current)
            except UsageError as error:
                self._refuse(name, str(error))
        return self._applied(current, settings, f"{path}.") if settings else current

    def _settings(self, node: Node, path: str) -> dict[str, Node]:
        """Return the settings of a part, whose name alone can stand for it."""
        if isinstance(node.value, list):
            self._refuse(node, f"{path} is a list; give one name, or a mapping with name: NAME")
        return dict(node.value) if isinstance(node.value, dict) else {"name": node}

    def _read(self, node: Node, kind: Any, path: str) -> Any:
        try:
            return read_value(node, kind)
        except (ValueError, LookupError):
            self._refuse(node, f"{path} is {node}; it must be {description(kind)}")

    def _refuse_key(self, name: str, node: Node, path: str, known: Iterable[str]) -> NoReturn:
        head, dot, rest = name.partition(".")
        if not path and name in self.owners:
            head, dot, rest = self.owners[name], ".", name
        hint = f" Write it as a mapping, {head}: {{{rest}: ...}}." if dot else ""
        hint = (
            hint or did_you_mean(name, known) or f" The keys here are {', '.join(sorted(known))}."
        )
        self._refuse(node, f"There is no key '{path}{name}'.{hint}")

    def _refuse(self, node: Node, problem: str) -> NoReturn:
        end = "" if problem.endswith((".", "?")) else "."
        raise UsageError(f"{self.path}, line {node.line}: {problem}{end}")


def take_config(argv: list[str]) -> tuple[list[str], ConfigFile]:
    """Remove ``--config FILE`` and return the other arguments, and the file; raises UsageError."""
    argv, name = take_flag(argv, "--config")
    if any(arg.partition("=")[0] == "--config" for arg in argv):
        raise UsageError("--config is given twice; one file holds the config.")
    return argv, ConfigFile(None if name is None else Path(name))


def keys_of(config: Any) -> Iterator[str]:
    """Yield the keys of a config's settings and parts in a file."""
    for field, kind in typed_fields(config):
        if is_flat(kind):
            yield from keys_of(getattr(config, field.name))
        else:
            yield field.name


def typed_fields(config: object) -> tuple[tuple[Field[Any], Any], ...]:
    """Return the fields of a config with their types, and with what tyro is told of them."""
    kind: Any = type(config)
    return _typed_fields(kind)


@cache
def _typed_fields(kind: Any) -> tuple[tuple[Field[Any], Any], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((field, hints[field.name]) for field in fields(kind))


def is_flat(kind: Any) -> bool:
    """Return whether the settings of a field stand beside it, as those of an evaluation do."""
    return any(getattr(x, "name", None) == "" for x in getattr(kind, "__metadata__", ()))


def read_value(node: Node, kind: Any) -> Any:
    """Return the value of a setting's type that a text or a list stands for.

    Raises ValueError or LookupError.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return read_value(node, args[0])
    if origin in (Union, types.UnionType):
        if types.NoneType in args and _is_null(node):
            return None
        for each in args:
            try:
                return read_value(node, each)
            except (ValueError, LookupError):
                continue
        raise ValueError
    if origin is tuple:
        if not isinstance(node.value, list):
            raise ValueError
        kinds = args[:1] * len(node.value) if args[-1] is ... else args
        return tuple(read_value(*pair) for pair in zip(node.value, kinds, strict=True))
    if not isinstance(node.value, str) or kind is types.NoneType:
        raise ValueError
    text = node.value
    if kind is Path and not text:  # which would be the working folder
        raise ValueError
    if origin is Literal:
        return {str(each): each for each in args}[text]
    if kind in (str, Path):
        return kind(text)
    if node.quoted:
        raise ValueError
    if kind is bool:
        return TRUTH_VALUES[text.lower()]
    return kind(text)


def _is_null(node: Node) -> bool:
    return isinstance(node.value, str) and not node.quoted and node.value.lower() in NULLS


def description(kind: Any) -> str:
    """Return what a value of a type is, as a noun."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return description(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(description, args))
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin is tuple:
        count = "" if args[-1] is ... else f"{len(args)} "
        return f"a list of {count}values, each {description(args[0])}"
    nouns = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return nouns.get(kind, "null" if kind is types.NoneType else "a path")
