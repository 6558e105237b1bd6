"""Command-line arguments as values: ``role:name`` tokens, flags and imported modules."""

import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass, make_dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from ...agents.interface import AgentConfig, settings_at
from ...envs.errors import UsageError, own_place
from ..text.terminal_text import paragraph
from .field_texts import class_text, field_texts
from .registry import TABLES, part_class, resolve
from .roles import part_at, part_name, path_of, roles

T = TypeVar("T")
Options = TypeVar("Options")

TEXTS = ConstructorRegistry()
"""Makes tyro show the texts of fields and classes as ``field_texts`` gives them."""


@TEXTS.struct_rule
def _describe_fields(info: StructTypeInfo) -> StructConstructorSpec | None:
    kind = info.type
    if not is_dataclass(kind):
        return None
    hints, texts = get_type_hints(kind, include_extras=True), field_texts(kind)
    specs = []
    for field in fields(kind):
        default = MISSING_NONPROP if field.default is MISSING else field.default
        if isinstance(info.default, kind):
            default = getattr(info.default, field.name)
        text = texts.get(field.name, "")
        if is_dataclass(default):
            text = class_text(type(default))
        specs.append(StructFieldSpec(field.name, hints[field.name], default, text))
    return StructConstructorSpec(partial(_constructed, kind), tuple(specs))


@TEXTS.primitive_rule
def _read_whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda args: _whole_number(args[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is no whole number; write it in digits.") from error


class _RefusedError(Exception):
    """A UsageError of a config, in the place of the ValueError that tyro would draw in a box."""


def _constructed(kind: type[T], **values: Any) -> T:
    try:
        return kind(**values)
    except UsageError as error:
        raise _RefusedError(kind) from error


def parse_flags(kind: type[T], argv: list[str], program: str, default: T | None = None) -> T:
    """Parse flags into a frozen dataclass with tyro, which exits with status 2 on a wrong flag.

    ``program`` is the command with what precedes its flags. Raises UsageError for values that the
    dataclass refuses.
    """
    parsed: T = _parse(kind, argv, program, default)
    return parsed


def parse_known_flags(
    kind: type[T], argv: list[str], program: str, default: T | None = None
) -> tuple[T, list[str]]:
    """Parse the flags of a frozen dataclass, and return the other arguments too."""
    parsed: tuple[T, list[str]] = _parse(kind, argv, program, default, return_unknown_args=True)
    return parsed


def _parse(kind: type, argv: list[str], program: str, default: Any, **settings: Any) -> Any:
    if default is not None:
        settings["default"] = default
    if {"-h", "--help"} & {*argv}:
        _print_description(kind)
    else:  # an error names the command that prints the help, which placeholders are no part of
        program = " ".join(takewhile(str.islower, program.split()))
    settings |= {"prog": program, "registry": TEXTS, "description": ""}
    try:
        return tyro.cli(kind, args=argv, **settings)
    except _RefusedError as error:
        (kind,) = error.args
        with settings_at(path_of(default, kind) if issubclass(kind, AgentConfig) else "agent"):
            raise UsageError(str(error.__cause__)) from error


def _print_description(kind: type) -> None:
    """Print the docstring of a dataclass before its help, in lines that fit the terminal."""
    text = class_text(kind)
    if not text.startswith(f"{kind.__name__}("):  # made by Python
        print("\n\n".join(map(paragraph, text.split("\n\n"))) + "\n")


def parse_job(
    job: T, options: Options, argv: list[str], program: str, own_flags: Sequence[str] = ()
) -> tuple[T, Options]:
    """Parse the flags of a job and of its options, which stand beside each other.

    ``own_flags`` are those of the command that were parsed before. Raises UsageError for an unknown
    flag.
    """
    _check_flags(job, options, argv, own_flags)
    parts = {"job": job, "options": options}
    kind: Any = make_dataclass(
        "_Arguments",
        [(name, Annotated[type(x), tyro.conf.arg(name="")]) for name, x in parts.items()],
        frozen=True,
    )
    parsed = parse_flags(kind, argv, program, default=kind(**parts))
    return parsed.job, parsed.options


def take_flag(argv: list[str], flag: str) -> tuple[list[str], str | None]:
    """Remove ``flag VALUE`` or ``flag=VALUE`` and return the remaining arguments and the value."""
    for i, arg in enumerate(argv):
        if arg == flag:
            if i + 1 == len(argv):
                raise UsageError(f"{flag} needs a value.")
            return argv[:i] + argv[i + 2 :], argv[i + 1]
        if arg.startswith(flag + "="):
            return argv[:i] + argv[i + 1 :], arg.removeprefix(flag + "=")
    return argv, None


def take_switch(argv: list[str], flag: str) -> tuple[list[str], bool]:
    """Remove a flag without a value, and return the other arguments and whether it was there."""
    return [arg for arg in argv if arg != flag], flag in argv


def take_imports(argv: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Import the module of each ``--import MODULE``.

    Returns the remaining arguments and the modules. Raises UsageError if one cannot be imported.
    """
    modules: list[str] = []
    while True:
        argv, module = take_flag(argv, "--import")
        if module is None:
            import_modules(modules)
            return argv, tuple(modules)
        modules.append(module)


def import_modules(names: Sequence[str]) -> None:
    """Import modules, also from the working folder, which comes last on the path.

    Raises UsageError if one cannot be imported, or if the working folder has a module of that name
    and another one was imported.
    """
    if names and "" not in sys.path:
        sys.path.append("")  # the working folder, after the installed packages
    for name in names:
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            cause, remedy = f"{type(error).__name__}: {error}{own_place(error)}", ""
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
                remedy = (
                    "; --import takes the name of a module in the working folder, in a folder of "
                    "PYTHONPATH or installed: my_module for my_module.py"
                )
            raise UsageError(f"--import '{name}' cannot be imported ({cause}){remedy}.") from error
        own, found = Path(f"{name.replace('.', '/')}.py"), getattr(module, "__file__", None)
        if own.exists() and not (found and own.samefile(found)):
            raise UsageError(
                f"--import '{name}' is {found or 'built in'}, not {own}; rename {own}."
            )


def _check_flags(job: Any, options: Any, argv: Iterable[str], own_flags: Sequence[str]) -> None:
    """Raise UsageError, with the nearest names or the part it belongs to, for an unknown flag."""
    names = [*_flag_names(job), *_flag_names(options)]
    known = {"import" if name == "imports" else name for name in names} | {"help"}
    candidates = sorted(known | {flag.removeprefix("--") for flag in own_flags})
    given = [arg.partition("=")[0] for arg in argv if arg.startswith("--")]
    for name in (flag.removeprefix("--").replace("_", "-") for flag in given):
        role, dot, setting = name.rpartition(".")
        positive = role + dot + setting.removeprefix("no-")
        if name in known or positive in known:
            continue
        similarity = {x: _similarity(positive, x) for x in candidates}
        near = sorted((x for x in candidates if similarity[x] > 0.7), key=similarity.__getitem__)
        table = dict(roles(job)).get(role, {})
        owners = [x for x in table if setting in _flag_names(resolve(table[x]), nested=False)]
        if owners:
            choice = part_name(part_at(job, role))
            remedy = f"{role}:{' or '.join(owners)} has it, and the {role} here is {choice}."
        elif near:
            remedy = f"Did you mean {' or '.join(f'--{x}' for x in near[:-3:-1])}?"
        else:
            remedy = "--help shows all flags."
        shown = "game" if name == "env.game" else name  # what ``expand_game_flag`` replaced
        raise UsageError(f"There is no flag --{shown}. {remedy}")


def _similarity(name: str, flag: str) -> float:
    """Return how similar two flags are, or their last words, from 0 to 1."""
    pairs = (name, flag), (name.rpartition(".")[2], flag.rpartition(".")[2])
    return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)


def _flag_names(config: Any, prefix: str = "", *, nested: bool = True) -> Iterator[str]:
    """Yield the flags of a config's settings, and of those of its parts, without dashes."""
    for field in fields(config):
        name, value = prefix + field.name.replace("_", "-"), getattr(config, field.name, None)
        if not is_dataclass(value):
            yield name
        elif nested:
            yield from _flag_names(value, f"{name}.")


def expand_game_flag(argv: list[str]) -> list[str]:
    """Replace ``--game`` by ``--env.game``."""
    return [re.sub("^--game(?==|$)", "--env.game", arg) for arg in argv]


def split_roles(argv: list[str], *kinds: type) -> tuple[list[str], list[str]]:
    """Split arguments into ``role:name`` tokens and flags with their values.

    ``kinds`` are the dataclasses, beside the parts, whose fields are flags. An argument with a
    colon is a token unless the flag before takes it as a value.
    """
    tokens: list[str] = []
    flags: list[str] = []
    flag, num_values = "", 0
    for arg in argv:
        if arg.startswith("--"):
            flag, num_values = arg, 0
            flags.append(arg)
        elif ":" not in arg or _takes_value(flag, num_values, kinds, arg):
            num_values += 1
            flags.append(arg)
        else:
            tokens.append(arg)
    return tokens, flags


def _takes_value(flag: str, num_values: int, kinds: Sequence[type], arg: str) -> bool:
    """Return whether a flag with ``num_values`` values takes a further one, if it has a colon.

    A flag of several names, unlike one of several paths, ends at an argument that begins with the
    name of a role.
    """
    if not flag or "=" in flag or flag == "--help":
        return False
    name = flag.lstrip("-").rpartition(".")[2].replace("-", "_")
    parts = (part_class(entry) for table in TABLES.values() for entry in table.values())
    types, role_names = set(), set()
    for hints in map(get_type_hints, {*kinds, *parts}):
        types |= {hints[x] for x in (name, name.removeprefix("no_")) if x in hints}
        role_names |= {x for x, kind in hints.items() if kind in TABLES}
    if num_values:
        is_role = arg.partition(":")[0].rpartition(".")[2] in role_names
        return tuple[Path, ...] in types or (tuple[str, ...] in types and not is_role)
    return bool not in types
