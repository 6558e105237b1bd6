"""``reverie reproduce NAME ... | --all [--flags]``."""

from dataclasses import dataclass
from pathlib import Path

from ...envs.errors import UsageError
from ..config.arguments import parse_flags
from ..reproduce.endurance import ENDURANCE
from ..reproduce.recipes import PREDICTION_RECIPES, RECIPES
from ..reproduce.representation_benchmark import REPRESENTATION_BENCHMARKS
from ..reproduce.reproduce import (
    reproduce,
    reproduce_endurance,
    reproduce_prediction,
    reproduce_representations,
)


@dataclass(frozen=True)
class ReproduceOptions:
    """Which results are made again, and where."""

    all: bool = False
    """Every recipe."""
    folder: Path = Path("runs/reproduce")
    """Folder of the runs; finished ones are not repeated."""


def run(argv: list[str]) -> int:
    """Reproduce committed results; return 130 if interrupted."""
    names = []
    while argv and not argv[0].startswith("-"):
        names.append(argv.pop(0))
    options = parse_flags(ReproduceOptions, argv, "reverie reproduce NAME ... | --all")
    recipes = dict.fromkeys(RECIPES, reproduce)
    recipes |= dict.fromkeys(PREDICTION_RECIPES, reproduce_prediction)
    recipes |= dict.fromkeys(REPRESENTATION_BENCHMARKS, reproduce_representations)
    recipes |= dict.fromkeys(ENDURANCE, reproduce_endurance)
    unknown = [name for name in names if name not in recipes]
    if unknown or not (names or options.all):
        raise UsageError(
            f"Name what to reproduce{' instead of ' + unknown[0] if unknown else ''}: "
            f"{', '.join(recipes)}, or --all."
        )
    for name in recipes if options.all else names:
        if not recipes[name](name, options.folder):
            return 130
    return 0
