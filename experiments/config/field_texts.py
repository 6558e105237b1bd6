"""Texts of parts and of their settings for the terminal, read from the docstrings of configs."""

import ast
import inspect
import re
import textwrap
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from .registry import part_class, resolve


@cache
def field_texts(kind: type) -> dict[str, str]:
    """Return the text under each field of a dataclass, on one line and without markup."""
    texts: dict[str, str] = {}
    for base in filter(is_dataclass, reversed(kind.__mro__)):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except OSError:  # a class that was made at run time
            continue
        assert isinstance(tree.body[0], ast.ClassDef)
        body = tree.body[0].body
        for node, text in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[ast.unparse(node.target)] = _plain(ast.literal_eval(text.value))
    return texts


def class_text(kind: type) -> str:
    """Return the docstring of a class in paragraphs of one line, without markup."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return "\n\n".join(map(_plain, paragraphs))


def part_text(entry: Any) -> str:
    """Return what a part of a role's table is, in one sentence.

    It is the first one of its config's docstring, or the settings of a config with its own values,
    after the text of the part in it.
    """
    part, kind = resolve(entry), part_class(entry)
    if not isinstance(part, kind):
        return first_sentence(class_text(part))
    default = {field.name: field.default for field in fields(kind)}
    own = {name: getattr(part, name) for name in default if name != "name"}
    inner = [part_text(type(value)) for value in own.values() if is_dataclass(value)]
    changed = [
        f"{name} {value}"
        for name, value in own.items()
        if value != default[name] and not is_dataclass(value)
    ]
    subject = f"{inner[0].removesuffix('.')}," if inner else kind.__name__.removesuffix("Config")
    return f"{subject} with {', '.join(changed)}." if changed else "".join(inner)


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop, semicolon or empty line."""
    return re.split(r"(?<!et al)\. |; |\n", text)[0].removesuffix(".") + "."


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("`", "")
