"""``reverie imagine PRESET [role:name ...] [--flags]``."""

from pathlib import Path

from ...envs.errors import UsageError
from ..sessions.command_line import parse_command
from ..training.imagine import ImagineOptions, imagine


def run(argv: list[str]) -> int:
    """Train an agent in rounds of imagination; raises Interrupted if a signal ends it."""
    start, experiments, options = parse_command("imagine", argv, ImagineOptions())
    if len(experiments) > 1:
        raise UsageError("--games names several games, and imagine takes one; give it by --game.")
    (experiment,) = experiments
    folder = options.folder or Path(f"{start.folder(experiment)}-imagined")
    imagine(experiment, folder, options)
    return 0
