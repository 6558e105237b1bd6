"""``reverie train PRESET | --config FILE [role:name ...] [--flags]``."""

from ...envs.errors import UsageError
from ..training.command_line import parse_experiment
from ..training.train import train


def run(argv: list[str]) -> int:
    """Train one agent per game; raises Interrupted if a signal ends one."""
    start, experiments, options = parse_experiment(argv)
    if options.folder and len(experiments) > 1:
        raise UsageError("--folder names one run and --games asks for several; leave it out.")
    for experiment in experiments:
        folder = options.folder or start.folder(experiment)
        train(experiment, folder, options).raise_interrupted()
    return 0
