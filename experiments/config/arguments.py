"""Command-line arguments as values: ``role:name`` tokens, flags and imported modules."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import make_dataclass
from typing import Annotated, Any, TypeVar

import tyro

from ...envs.errors import UsageError
from .registry import roles

T = TypeVar("T")
Options = TypeVar("Options")


def parse_flags(kind: type[T], argv: list[str], program: str, default: T | None = None) -> T:
    """Parse flags into a frozen dataclass with tyro, which exits with status 2 on a wrong flag."""
    if default is None:
        return tyro.cli(kind, args=argv, prog=program)
    return tyro.cli(kind, args=argv, prog=program, default=default)


def parse_job(job: T, options: Options, argv: list[str], program: str) -> tuple[T, Options]:
    """Parse the flags of a job and of its options, which stand beside each other."""
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
    """Import modules, also from the working folder; raises UsageError if one cannot be imported."""
    if names and "" not in sys.path:
        sys.path.append("")  # the working folder, after the installed packages
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # the user's code may raise anything
            cause = f"{type(error).__name__}: {error}"
            raise UsageError(f"--import '{name}' cannot be imported ({cause}).") from error


def expand_game_flag(argv: list[str]) -> list[str]:
    """Replace ``--game`` by ``--env.game``."""
    return ["--env.game" if x == "--game" else x.replace("--game=", "--env.game=") for x in argv]


def split_roles(argv: list[str], config: Any) -> tuple[list[str], list[str]]:
    """Split arguments into ``role:name`` tokens and flags with their values.

    A flag's value may contain a colon, unless it starts with a role of the config.
    """
    heads = {path.partition(".")[0] for path, _ in roles(config)}
    tokens: list[str] = []
    flags: list[str] = []
    for previous, arg in zip(["", *argv], argv, strict=False):
        names_role = arg.partition(":")[0].partition(".")[0] in heads
        is_value = previous.startswith("--") and "=" not in previous and not names_role
        is_token = ":" in arg and not arg.startswith("-") and not is_value
        (tokens if is_token else flags).append(arg)
    return tokens, flags
