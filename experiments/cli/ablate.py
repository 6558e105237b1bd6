"""``reverie ablate PRESET [role:a,b ...] [--flags]``; its other flags are those of train."""

import shlex

from ...envs.errors import UsageError
from ..ablation.ablate import AblateOptions, ablate
from ..ablation.grid import make_grid
from ..config.arguments import parse_known_flags, take_flag

PROGRAM = "reverie ablate PRESET [role:a,b ...] [flags of train]"
LOCAL_FLAGS = ("--folder", "--save", "--workers")
"""Flags that do not change results, and are left out of the committed command."""


def run(argv: list[str]) -> int:
    """Run the unfinished runs of a grid and write a report; return 1 if some failed."""
    repeated = argv
    for flag in LOCAL_FLAGS:
        repeated, _ = take_flag(repeated, flag)
    options, argv = parse_known_flags(AblateOptions, argv or ["--help"], PROGRAM)
    if any(arg.partition("=")[0] == "--seed" for arg in argv):
        raise UsageError("--seed is for one run; give the number of seeds of a grid as --seeds N.")
    command = shlex.join(["reverie", "ablate", *repeated])
    return ablate(make_grid(argv, options.games), options, command)
