"""``reverie reproduce NAME ... | --all [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.errors import UsageError
from ..config.arguments import parse_flags
from ..reporting.committed import require_checkout
from ..reproduce.recipes import RECIPES
from ..reproduce.reproduce import reproduce


@dataclass(frozen=True)
class ReproduceOptions:
    """Which results are made again, and where."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Recipes."""
    all: bool = False
    """Every recipe."""
    folder: Path = Path("runs/reproduce")
    """Folder of the runs; finished ones are not repeated."""


def run(argv: list[str]) -> int:
    """Reproduce committed results; raises KeyboardInterrupt if a run is interrupted."""
    options = parse_flags(ReproduceOptions, argv, "reverie reproduce")
    names = tuple(RECIPES) if options.all else options.names
    unknown = [name for name in names if name not in RECIPES]
    if unknown or not names:
        raise UsageError(
            f"Name what to reproduce{' instead of ' + unknown[0] if unknown else ''}: "
            f"{', '.join(RECIPES)}, or --all."
        )
    require_checkout("reverie reproduce")
    for name in names:
        reproduce(name, options.folder)
    return 0
