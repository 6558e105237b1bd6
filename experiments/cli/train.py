"""``reverie train PRESET | --config FILE [role:name ...] [--flags]``."""

from dataclasses import replace

from ...envs.errors import UsageError
from ..sessions.command_line import parse_experiment
from ..training.train import train
from ..training.train_together import train_together


def run(argv: list[str]) -> int:
    """Train one agent per game, and several seeds together if asked.

    Raises Interrupted if a signal ends a run.
    """
    start, experiments, options = parse_experiment(argv)
    count = options.seeds_together
    if options.folder and len(experiments) * count > 1:
        flag = "--games" if len(experiments) > 1 else "--seeds-together"
        raise UsageError(f"--folder names one run and {flag} asks for several; leave it out.")
    for experiment in experiments:
        if count == 1:
            folder = options.folder or start.folder(experiment)
            train(experiment, folder, options).raise_interrupted()
            continue
        seeds = [replace(experiment, seed=experiment.seed + i) for i in range(count)]
        for finished in train_together(seeds, [start.folder(x) for x in seeds], options):
            finished.raise_interrupted()
    return 0
