"""YAML and JSON as a tree of texts with their lines, which may come from anywhere.

The file has no types: whoever reads a text knows which one is expected, so that 1e-4 is a number
where a number is due, and "no" a text where a text is. Tags are refused, and size, nesting and the
repetition of aliases are bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from ...envs.errors import UsageError

MAX_BYTES = 1 << 18
MAX_DEPTH = 20
MAX_NODES = 10_000
"""Values of a file, those that an alias repeats counted again."""


@dataclass(frozen=True)
class Node:
    """A value of a file: a text, a list or a mapping."""

    value: "str | list[Node] | dict[str, Node]"
    line: int
    """Its line, or that of its key."""
    quoted: bool = False
    """Whether the text has quotation marks, so that it is no number and no truth value."""
    size: int = 1
    """Number of values in it and itself."""

    def __str__(self) -> str:
        if isinstance(self.value, str):
            text = self.value if len(self.value) <= 40 else f"{self.value[:40]}..."
            return f"'{text}'" if text or self.quoted else "empty"
        return "a list" if isinstance(self.value, list) else "a mapping"


def read_nodes(path: Path) -> dict[str, Node]:
    """Return the values of a file's mapping by key, with underscores for the hyphens of flags.

    Raises UsageError, which names the file and the line, if it cannot be read, is too large or too
    deep, holds something else than a mapping, or has a key twice.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is no config: it has more than {MAX_BYTES:,} bytes.")
    text = text.expandtabs(1) if path.suffix == ".json" else text  # YAML allows none before a value
    root = _Reader(path, text).read()
    if not isinstance(root.value, dict):
        raise UsageError(f"{path} holds {root}; a config is a mapping of settings to values.")
    return root.value


class _Reader:
    """Builds the nodes of a file from the events of PyYAML's parser, which constructs nothing."""

    def __init__(self, path: Path, text: str) -> None:
        import yaml

        self.yaml: Any = yaml
        self.path, self.text = path, text
        self.events: Iterator[Any] = yaml.parse(text, yaml.SafeLoader)
        self.anchors: dict[str, Node] = {}
        self.size = 0

    def read(self) -> Node:
        try:
            next(self.events)
            if isinstance(next(self.events), self.yaml.StreamEndEvent):
                raise UsageError(f"{self.path} is empty; a config is a mapping of settings.")
            root = self._node(next(self.events), 0)
            next(self.events)
            if not isinstance(event := next(self.events), self.yaml.StreamEndEvent):
                self._refuse(event, "another document begins; a config is one document")
            return root
        except self.yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
            raise UsageError(f"{self.path}{where} is no YAML: {problem}.") from error

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if isinstance(event, self.yaml.AliasEvent):
            if event.anchor not in self.anchors:
                self._refuse(event, f"the alias *{event.anchor} names nothing before it")
            return self._counted(event, self.anchors[event.anchor], self.anchors[event.anchor].size)
        if event.tag is not None:
            self._refuse(event, f"tags such as {event.tag[:40]} are not allowed; leave it out")
        if depth > MAX_DEPTH:
            self._refuse(event, f"values are nested deeper than {MAX_DEPTH} levels")
        value: Any
        if isinstance(event, self.yaml.ScalarEvent):
            node = Node(event.value, line, quoted=event.style is not None)
        elif isinstance(event, self.yaml.SequenceStartEvent):
            value = [self._node(x, depth + 1) for x in self._until(self.yaml.SequenceEndEvent)]
            node = Node(value, line, size=1 + sum(x.size for x in value))
        else:
            value = self._mapping(depth)
            node = Node(value, line, size=1 + sum(x.size for x in value.values()))
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return self._counted(event, node, 1)

    def _mapping(self, depth: int) -> dict[str, Node]:
        values: dict[str, Node] = {}
        for event in self._until(self.yaml.MappingEndEvent):
            if not isinstance(event, self.yaml.ScalarEvent) or event.tag is not None:
                self._refuse(event, "a key is no plain text")
            name = event.value.replace("-", "_")
            if name in values:
                self._refuse(event, f"the key '{name}' stands here and in line {values[name].line}")
            value = self._node(next(self.events), depth + 1)
            values[name] = replace(value, line=event.start_mark.line + 1)
        return values

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self.events), end):
            yield event

    def _counted(self, event: Any, node: Node, count: int) -> Node:
        self.size += count
        if self.size > MAX_NODES:
            self._refuse(event, f"there are more than {MAX_NODES:,} values, with those of aliases")
        return node

    def _refuse(self, event: Any, problem: str) -> NoReturn:
        raise UsageError(f"{self.path}, line {event.start_mark.line + 1}: {problem}.")
