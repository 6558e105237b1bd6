"""``reverie train PRESET [role:name ...] [--flags]``."""

from ...envs.errors import UsageError
from ..config.presets import default_folder
from ..training.command_line import parse_experiment
from ..training.train import train


def run(argv: list[str]) -> int:
    """Train one agent per game; raises Interrupted if a signal ends one."""
    preset, experiments, options = parse_experiment(argv)
    if options.folder and len(experiments) > 1:
        raise UsageError("--folder names one run and --games asks for several; leave it out.")
    for experiment in experiments:
        folder = options.folder or default_folder(preset, experiment)
        train(experiment, folder, options).raise_interrupted()
    return 0
