"""Docstrings of the parts: every public name has one, in one form, and its example runs.

A docstring begins with one sentence, of a function in the imperative, and names the errors that its
function raises. A method that overrides another, or implements a protocol of the package, may leave
its description to that one. The text below a config's field is its help text.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reverie.envs import errors

ROOT = Path(__file__).parent.parent
PACKAGES = ("envs", "world_models", "agents")

VERBS = frozenset(
    "act add allocate allow append apply attend build center check choose close compare complete "
    "compute concatenate continue convert copy count create decode describe discard draw drop "
    "empty encode end estimate evaluate fit follow free grow import increment initialize insert "
    "interpolate keep learn load make map mark mix move name plan pop predict print push raise "
    "read rebuild recompute reconstruct record replan replay reset reshape resume restore return "
    "sample scale schedule score search seed send set shift split start step store take train "
    "update use wait write yield zero".split()
)
"""First words of functions' docstrings; a verb that is missing is added here."""

NOT_RUN = {"reverie": "trains for hours"}
"""Examples that are not run, and why."""

SHOWN = (
    "agents.bonuses.bonus.Bonus",
    "agents.interface.Policy",
    "agents.loop.interact",
    "agents.replay.Replay",
    "agents.returns.lambda_returns",
    "agents.rollout.Rollout",
    "envs.batched_env.BatchedEnv",
    *(f"world_models.interface.{x}" for x in ("Density", "Representation", "Predictor", "Planner")),
)
"""What is met first, and so has an example."""


@dataclass(frozen=True)
class Definition:
    """A module, or a public class, function or method in it."""

    module: ModuleType
    node: ast.Module | ast.ClassDef | ast.FunctionDef
    owner: type | None = None
    """The class, or that of the method."""

    @property
    def name(self) -> str:
        method_of = self.owner if isinstance(self.node, ast.FunctionDef) else None
        parts = (self.module, method_of, None if isinstance(self.node, ast.Module) else self.node)
        names = [getattr(x, "__qualname__", getattr(x, "__name__", "")) for x in parts[:2] if x]
        return ".".join([*names, *([parts[2].name] if parts[2] else [])])

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def is_function(self) -> bool:
        """Whether it is a function, or a method that is no property."""
        return isinstance(self.node, ast.FunctionDef) and not any(
            "property" in ast.unparse(decorator) for decorator in self.node.decorator_list
        )

    @property
    def inherited(self) -> list[str]:
        """The docstrings of the methods that it overrides, but torch's, or implements."""
        if self.owner is None or not isinstance(self.node, ast.FunctionDef):
            return []
        bases = [x for x in self.owner.__mro__[1:] if not x.__module__.startswith("torch.nn")]
        methods = [vars(base).get(self.node.name) for base in (*bases, *implemented(self.owner))]
        return [x.__doc__ for x in methods if x is not None and x.__doc__]

    @property
    def described(self) -> str:
        """Its docstring, those that it inherits, and those of its class and the bases."""
        classes = self.owner.__mro__[:-1] if self.owner else ()
        return "\n".join([self.docstring, *self.inherited, *(x.__doc__ or "" for x in classes)])


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield child


@cache
def modules() -> list[tuple[ModuleType, ast.Module]]:
    found = []
    for path in [ROOT / "__init__.py", *(p for x in PACKAGES for p in (ROOT / x).rglob("*.py"))]:
        parts = ("reverie", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append((importlib.import_module(name), ast.parse(path.read_text())))
    return found


@cache
def definitions() -> list[Definition]:
    found = []
    for module, tree in modules():
        found.append(Definition(module, tree))
        for node in public(tree):
            owner = getattr(module, node.name) if isinstance(node, ast.ClassDef) else None
            found.append(Definition(module, node, owner))
            if isinstance(node, ast.ClassDef):
                found += [Definition(module, method, owner) for method in public(node)]
    return found


@cache
def implemented(owner: type) -> list[type]:
    """The protocols of the package whose every method the class has."""
    classes = {x.owner for x in definitions() if x.owner}
    protocols = [x for x in classes if getattr(x, "_is_protocol", False)]
    return [x for x in protocols if methods_of(x) and methods_of(x) <= set(dir(owner))]


def methods_of(protocol: type) -> set[str]:
    own = [x for x in protocol.__mro__ if x.__module__.startswith("reverie")]
    return {name for x in own for name, v in vars(x).items() if callable(v) and name[0] != "_"}


def test_every_public_name_has_a_docstring() -> None:
    missing = [x.name for x in definitions() if not x.docstring and not x.inherited]
    assert not missing, "\n".join(missing)


def test_a_docstring_begins_with_one_line_that_ends_in_a_period() -> None:
    wrong = []
    for x in definitions():
        first, second = [*x.docstring.splitlines(), "", ""][:2]
        if x.docstring and (second or not first.endswith(".")):
            wrong.append(f"{x.name}: {first}")
    assert not wrong, "\n".join(wrong)


def test_the_docstring_of_a_function_is_in_the_imperative() -> None:
    wrong = [
        f"{x.name}: {x.docstring.splitlines()[0]}"
        for x in definitions()
        if x.is_function and x.docstring and x.docstring.split()[0].lower() not in VERBS
    ]
    assert not wrong, "\n".join(wrong)


def test_every_field_of_a_config_has_a_text() -> None:
    missing = []
    for config in definitions():
        if isinstance(config.node, ast.ClassDef) and config.name.endswith(("Config", "Protocol")):
            for field, below in pairwise([*config.node.body, ast.Pass()]):
                text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not text:
                    missing.append(f"{config.name}.{ast.unparse(field.target)}")
    assert not missing, "\n".join(missing)


BUILT_IN = {"ValueError", "RuntimeError", "TypeError", "KeyError", "TimeoutError"}
OWN = {name for name, x in vars(errors).items() if isinstance(x, type)}


@cache
def functions() -> dict[tuple[str, str], tuple[ModuleType, ast.FunctionDef]]:
    """Every function and method of the packages, by the names of its module and its own."""
    found = {}
    for module, tree in modules():
        for node in tree.body:
            for child in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(child, ast.FunctionDef):
                    prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                    found[module.__name__, prefix + child.name] = module, child
    return found


def raised(module: ModuleType, node: ast.AST, owner: type | None, seen: frozenset[str]) -> set[str]:
    """The errors that a function raises: itself, or by what it calls by name in the packages.

    Of the built-in errors those of its own module alone: another's are seldom for its caller.
    """
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Raise) and isinstance(part.exc, ast.Call):
            found.add(ast.unparse(part.exc.func))
        if isinstance(part, ast.Call) and (called := ast.unparse(part.func)) not in seen:
            scope: Any = owner if called.startswith("self._") else module
            function = getattr(scope, called.removeprefix("self."), None)
            made = function if isinstance(function, type) else None
            function = vars(made).get("__init__", function) if made else function
            key = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
            if key in functions():
                of_called = raised(*functions()[key], made or owner, seen | {called})
                found |= of_called & OWN if functions()[key][0] is not module else of_called
    return found & (OWN | BUILT_IN)


def test_a_docstring_names_the_errors_that_its_function_raises() -> None:
    wrong = []
    for x in definitions():
        bodies: list[ast.AST] = [x.node] if isinstance(x.node, ast.FunctionDef) else []
        if isinstance(x.node, ast.ClassDef):  # making and calling an object, and a config's checks
            special = ("__init__", "__post_init__", "__new__", "__call__")
            bodies = [y for y in x.node.body if getattr(y, "name", "") in special]
        names = {name for y in bodies for name in raised(x.module, y, x.owner, frozenset())}
        wrong += [f"{x.name}: {name}" for name in sorted(names) if name not in x.described]
    assert not wrong, "\n".join(wrong)


def examples() -> dict[str, str]:
    """The indented block below ``::`` in a docstring, by the name of what it shows."""
    found = {
        x.name: re.search(r"::\n\n((?: {4}.*\n|\n)+)", f"{x.docstring}\n") for x in definitions()
    }
    return {name: match.group(1) for name, match in found.items() if match}


def test_what_is_met_first_has_an_example() -> None:
    assert {f"reverie.{name}" for name in SHOWN} <= examples().keys()
    assert NOT_RUN.keys() <= examples().keys()


@pytest.mark.parametrize("name", sorted(examples().keys() - NOT_RUN.keys()))
def test_an_example_runs_as_it_stands_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.sub(r"^ {4}", "", examples()[name], flags=re.M)
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
