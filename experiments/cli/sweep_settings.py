"""``reverie sweep PRESET [role:name ...] [--flags]``; a flag with a range or values varies."""

from ..config.arguments import parse_known_flags
from ..config.config_file import take_config
from ..sweeps.search import sweep
from ..sweeps.sweep_options import SweepOptions
from ..sweeps.sweep_plan import make_plan

PROGRAM = "reverie sweep PRESET [role:name ...] [flags of train]"


def run(argv: list[str]) -> int:
    """Search settings; return 1 if some runs failed."""
    argv, file = take_config(argv or ["--help"])
    usual = file.apply(SweepOptions())
    options, argv = parse_known_flags(SweepOptions, argv, PROGRAM, usual)
    return sweep(make_plan(argv, options, file))
