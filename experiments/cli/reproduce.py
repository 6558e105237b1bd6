"""``reverie reproduce [NAME ... | --all] [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ..config.arguments import parse_flags
from ..reporting.committed import RESULTS, require_checkout
from ..reproduce.recipes import RECIPES
from ..reproduce.reproduce import reproduce
from ..runs.terminal_text import table


@dataclass(frozen=True)
class ReproduceOptions:
    """Which results are made again, and where."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Recipes; without one they are listed."""
    all: bool = False
    """Every recipe."""
    folder: Path = Path("runs/reproduce")
    """Folder of the runs; finished ones are not repeated."""


def run(argv: list[str]) -> int:
    """Reproduce committed results; raises KeyboardInterrupt if a run is interrupted."""
    options = parse_flags(ReproduceOptions, argv, "reverie reproduce")
    names = tuple(RECIPES) if options.all else options.names
    for name in names:
        if name not in RECIPES:
            hint = did_you_mean(name, RECIPES) or " reverie reproduce prints the recipes."
            raise UsageError(f"There is no recipe '{name}'.{hint}")
    if not names:
        print(_recipes())
        return 0
    require_checkout("reverie reproduce")
    for name in names:
        reproduce(name, options.folder)
    return 0


def _recipes() -> str:
    """Return a table of the recipes: their cost, and whether the result is there."""
    rows = [("recipe", "cost", "result")]
    for name, recipe in RECIPES.items():
        found = (RESULTS / f"{name}.json").exists()
        rows.append((name, recipe.cost, "there" if found else "not yet"))
    return f"{table(rows)}\n\nExample: reverie reproduce {next(iter(RECIPES))}"
