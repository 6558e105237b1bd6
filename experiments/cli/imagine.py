"""``reverie imagine PRESET [role:name ...] [--flags]``."""

from pathlib import Path

from ...envs.errors import UsageError
from ..sessions.command_line import parse_command
from ..training.imagine import ImagineOptions, imagine


def run(argv: list[str]) -> int:
    """Train an agent per game in rounds of imagination; raises Interrupted if a signal ends it."""
    if any(arg.partition("=")[0].replace("_", "-") == "--total-timesteps" for arg in argv):
        raise UsageError(
            "--total-timesteps has no meaning here; give --rounds, and --imagined-steps and "
            "--real-steps of each."
        )
    start, experiments, options = parse_command("imagine", argv, ImagineOptions())
    if options.folder and len(experiments) > 1:
        raise UsageError("--folder names one run and --games asks for several; leave it out.")
    for experiment in experiments:
        folder = options.folder or Path(f"{start.folder(experiment)}-imagined")
        imagine(experiment, folder, options)
    return 0
