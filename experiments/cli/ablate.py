"""``reverie ablate PRESET [role:a,b ...] [--flags]``; its other flags are those of train."""

from dataclasses import fields

from ...envs.errors import UsageError
from ..ablation.ablate import AblateOptions, ablate
from ..config.arguments import import_modules, parse_flags, take_flag

PROGRAM = "reverie ablate PRESET [role:a,b ...] [flags of train]"


def run(argv: list[str]) -> int:
    """Run the unfinished runs of a grid and write a report; return 130 if interrupted."""
    grid_argv, options = parse_ablate(import_modules(list(argv)))
    return ablate(grid_argv, options, argv)


def parse_ablate(argv: list[str]) -> tuple[list[str], AblateOptions]:
    """Parse the options of the grid; the remaining arguments define its cells."""
    if not argv or {"-h", "--help"} & set(argv):
        parse_flags(AblateOptions, ["--help"], PROGRAM)
    flags: list[str] = []
    for field in fields(AblateOptions):
        flag = f"--{field.name.replace('_', '-')}"
        if field.type is bool:
            switches = flag, flag.replace("--", "--no-", 1)
            flags += [arg for arg in argv if arg in switches]
            argv = [arg for arg in argv if arg not in switches]
        else:
            argv, value = take_flag(argv, flag)
            flags += [] if value is None else [f"{flag}={value}"]
    if any(arg.partition("=")[0] == "--seed" for arg in argv):
        raise UsageError("--seed is for one run; give the number of seeds of a grid as --seeds N.")
    return argv, parse_flags(AblateOptions, flags, PROGRAM)
