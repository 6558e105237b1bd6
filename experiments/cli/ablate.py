"""``reverie ablate PRESET [role:a,b ...] [--flags]``; its other flags are those of train."""

import shlex

from ...envs.errors import UsageError
from ..ablation.ablate import ablate
from ..ablation.ablate_options import AblateOptions
from ..ablation.grid import grid_text, make_grid
from ..config.arguments import parse_known_flags, take_flag, take_switch
from ..config.config_file import take_config

PROGRAM = "reverie ablate PRESET [role:a,b ...] [flags of train]"
LOCAL_FLAGS = ("--folder", "--save", "--workers", "--pilot", "--track", "--only-seeds")
"""Flags that do not change results, and are left out of the committed command."""


def run(argv: list[str]) -> int:
    """Run the unfinished runs of a grid and write a report; return 1 if some failed."""
    repeated = argv
    for flag in LOCAL_FLAGS:
        repeated, _ = take_flag(repeated, flag)
    given = {arg.partition("=")[0].replace("_", "-") for arg in argv}
    argv, file = take_config(argv or ["--help"])
    argv, prints = take_switch(argv, "--print-config")
    options = file.apply(AblateOptions())
    options, argv = parse_known_flags(AblateOptions, argv, PROGRAM, default=options)
    if "--seed" in given:
        raise UsageError("--seed is for one run; give the number of seeds of a grid as --seeds N.")
    unused, remedy = {
        "seeds": ("--max-seeds", "give the number of seeds as --seeds N, or add --until decided"),
        "decided": ("--seeds", "give the largest number of seeds as --max-seeds N"),
    }[options.until]
    if unused in given:
        raise UsageError(f"{unused} has no meaning with --until {options.until}; {remedy}.")
    if prints:
        print(grid_text(argv, options, file), end="")
        return 0
    command = shlex.join(["reverie", "ablate", *repeated])
    return ablate(make_grid(argv, options.games, file), options, command)
