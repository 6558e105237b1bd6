"""Command-line arguments as values: ``role:name`` tokens, flags and imported modules."""

import importlib
import sys
from typing import Any, TypeVar

import tyro

from ...envs.errors import UsageError
from .registry import roles

T = TypeVar("T")


def parse_flags(kind: type[T], argv: list[str], program: str, default: T | None = None) -> T:
    """Parse flags into a frozen dataclass with tyro, which exits with status 2 on a wrong flag."""
    if default is None:
        return tyro.cli(kind, args=argv, prog=program)
    return tyro.cli(kind, args=argv, prog=program, default=default)


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


def import_modules(argv: list[str]) -> list[str]:
    """Import the module of each ``--import MODULE`` and return the remaining arguments.

    Raises UsageError if a module cannot be imported.
    """
    while True:
        argv, module = take_flag(argv, "--import")
        if module is None:
            return argv
        if "" not in sys.path:
            sys.path.append("")  # the working folder, after the installed packages
        try:
            importlib.import_module(module)
        except Exception as error:  # the user's code may raise anything
            cause = f"{type(error).__name__}: {error}"
            raise UsageError(f"--import '{module}' cannot be imported ({cause}).") from error


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
