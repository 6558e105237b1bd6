"""``reverie reproduce [NAME ... | --all] [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.atari.games import did_you_mean
from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ..ablation.ablate import ablations_file
from ..ablation.evidence_grids import EVIDENCE
from ..config.arguments import parse_flags
from ..recipes.recipe import SeedsRecipe
from ..recipes.recipes import RECIPES
from ..reporting.committed import RESULTS, require_checkout
from ..reproduce.reproduce import reproduce
from ..runs.files import read_json
from ..text.terminal_text import paragraph, table
from . import ablate

ALL_EVIDENCE = "evidence"
"""The name of all grids behind the verdicts."""
THERE = "there"


@dataclass(frozen=True)
class ReproduceOptions:
    """Which results are made again, and where."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Recipes, or evidence for all grids behind the verdicts; without a name they are listed."""
    all: bool = False
    """Every recipe."""
    folder: Path = Path("runs/reproduce")
    """Folder of the runs; finished ones are not repeated."""
    seeds: int = 0
    """Seeds to add at most to each result that lacks some; 0 for all. A result that has all seeds
    is made anew."""

    def __post_init__(self) -> None:
        check(self, "", at_least(0), "seeds")


def run(argv: list[str]) -> int:
    """Reproduce committed results; raises KeyboardInterrupt if a run is interrupted."""
    options = parse_flags(ReproduceOptions, argv, "reverie reproduce")
    known = [*RECIPES, *EVIDENCE]
    names = [*known] if options.all else []
    for name in options.names:
        if name not in (*known, ALL_EVIDENCE):
            hint = did_you_mean(name, known) or " reverie reproduce prints the recipes."
            raise UsageError(f"There is no recipe '{name}'.{hint}")
        names += EVIDENCE if name == ALL_EVIDENCE else [name]
    if not names:
        print(_recipes())
        return 0
    if options.seeds and (whole := [x for x in names if not _has_seeds(x)]):
        raise UsageError(
            f"--seeds is {options.seeds}, and {', '.join(whole)} is measured as a whole; leave "
            "out one of the two."
        )
    require_checkout("reverie reproduce")
    failed = False
    for name in dict.fromkeys(names):
        if name in RECIPES:
            reproduce(name, options.folder, options.seeds)
        else:
            places = ["--folder", str(options.folder / name), "--save", name]
            part = EVIDENCE[name].lacking(ablations_file(name), options.seeds)
            failed |= bool(ablate.run([*EVIDENCE[name].argv, *places, *part]))
    return int(failed)


def _recipes() -> str:
    """Return tables of the recipes and the grids: their cost, and whether the result is there."""
    recipes = [("recipe", "cost", "result")]
    for name, recipe in RECIPES.items():
        there = _whether_there(RESULTS / f"{name}.json")
        if isinstance(recipe, SeedsRecipe) and there == THERE:
            made, all_seeds = len(read_json(RESULTS / f"{name}.json")["runs"]), len(recipe.seeds)
            there = f"{made} of {all_seeds} seeds" if made < all_seeds else there
        recipes.append((name, recipe.cost, there))
    grids = [("grid", "question", "cost", "result")]
    for name, grid in EVIDENCE.items():
        there = _whether_there(path := ablations_file(name))
        if there == THERE and not grid.needs:
            number, seeds = grid.seeds(path)
            there = f"{number} of {len(seeds)} seeds" if 0 < number < len(seeds) else there
        grids.append((name, grid.question, grid.cost, there))
    examples = (
        f"Example: reverie reproduce {next(iter(RECIPES))}; "
        f"reverie reproduce {ALL_EVIDENCE} runs all grids."
    )
    return f"{table(recipes)}\n\n{table(grids)}\n\n{paragraph(examples)}"


def _has_seeds(name: str) -> bool:
    """Return whether a result is one of seeds that can be added."""
    return name in EVIDENCE or isinstance(RECIPES[name], SeedsRecipe)


def _whether_there(result: Path) -> str:
    return THERE if result.exists() else "not yet"
