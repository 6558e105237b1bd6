"""The arguments of ``reverie train`` as experiments: a preset or a run, ``role:name`` and flags."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import expand_games
from ...envs.errors import UsageError
from ..config.arguments import (
    expand_game_flag,
    parse_job,
    split_roles,
    take_flag,
    take_imports,
    take_switch,
)
from ..config.config_file import ConfigFile, take_config
from ..config.config_text import config_text
from ..config.experiment import Experiment
from ..config.introduction import introduction, overview
from ..config.presets import PRESETS, take_preset
from ..config.registry import ENVS
from ..config.roles import choose_all, roles
from ..config.run_names import Start
from ..config.serialization import read_experiment
from .options import RunOptions, TrainOptions

Options = TypeVar("Options", bound=RunOptions)

OWN_FLAGS = ("--config", "--game", "--games", "--import", "--print-config", "--protocol")
"""Flags beside those of the settings."""
DEFAULT = "mfec"
"""The preset of a config file that names an agent and no preset: the defaults of an experiment."""


def parse_experiment(argv: list[str]) -> tuple[Start, list[Experiment], TrainOptions]:
    """Parse PRESET [role:name ...] [--flags] into one experiment per game.

    ``--config FILE`` has what stands before the other arguments, or the config of a run, to run it
    again. Returns what is varied, the experiments and the options. Raises UsageError for an unknown
    preset, role or part.
    """
    return parse_command("train", argv, TrainOptions())


def parse_command(
    command: str, argv: list[str], usual: Options
) -> tuple[Start, list[Experiment], Options]:
    """Parse the arguments of a command that trains agents; see ``parse_experiment``.

    ``usual`` are its options before flags, whose own roles can be chosen too.
    """
    argv, imports = take_imports(argv)
    if argv[:1] in (["-h"], ["--help"]):
        print(overview(command))
        raise SystemExit(0)
    argv, file = take_config(argv)
    beginning, argv = begin(argv, replace(usual, imports=imports), file)
    return parse_arguments(command, argv, beginning)


@dataclass(frozen=True)
class Beginning(Generic[Options]):
    """What arguments begin with: a preset or a run, and what a config file changes of it."""

    start: Start
    experiment: Experiment
    options: Options
    games: str | None


def begin(
    argv: list[str], usual: Options, file: ConfigFile
) -> tuple[Beginning[Options], list[str]]:
    """Return what the arguments begin with, and the others.

    Raises UsageError for an unknown preset, or a file that has none or what cannot be read.
    """
    imports = dict.fromkeys((*usual.imports, *file.take_imports()))
    start, argv = _take_start(argv, file)
    games = file.take_text("games")
    file.move_into("env", "game", "protocol")
    experiment = file.apply(start.experiment)
    options = file.apply(replace(usual, imports=tuple(imports)), without=["imports"])
    file.check_empty()
    return Beginning(start, experiment, options, games), argv


def parse_arguments(
    command: str, argv: list[str], beginning: Beginning[Options]
) -> tuple[Start, list[Experiment], Options]:
    """Parse the arguments after the beginning, as ``parse_command`` does."""
    start, options = beginning.start, beginning.options
    argv, games = take_flag(argv, "--games")
    argv, protocol = take_flag(argv, "--protocol")
    argv, prints = take_switch(argv, "--print-config")
    tokens, flags = split_roles(expand_game_flag(argv), Experiment, type(options))
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    if games is None and not any(flag.partition("=")[0] == "--env.game" for flag in flags):
        games = beginning.games
    own_roles = dict(roles(options))
    own = [token for token in tokens if token.partition(":")[0] in own_roles]
    experiment = beginning.experiment
    if init_from := take_flag(flags, "--init-from")[1]:  # an agent may need it for a chosen part
        experiment = replace(experiment, init_from=Path(init_from))
    chosen = choose_all(experiment, [token for token in tokens if token not in own])
    options = choose_all(options, own)
    if {"-h", "--help"} & {*flags}:
        print(introduction(start.name, chosen, command, options))
    experiment, options = parse_job(
        chosen, options, flags, f"reverie {command} {start.name}", OWN_FLAGS
    )
    if prints:
        head = {"preset": start.preset, "import": options.imports, "games": games}
        hidden = ["total_timesteps"] * (command == "imagine")  # the steps of a round take its place
        print(config_text(head, experiment, options, hidden=hidden), end="")
        raise SystemExit(0)
    return start, [experiment] if games is None else in_games(experiment, games), options


def in_games(experiment: Experiment, games: str) -> list[Experiment]:
    """Return an experiment in each of the named games of its env.

    Raises UsageError if its env has no games, or no game of a name.
    """
    env: Any = experiment.env
    if not hasattr(env, "game"):
        kinds = (f"env:{name}" for name, kind in ENVS.items() if hasattr(kind, "game"))
        raise UsageError(
            f"--games is {games}, and {env.env_name} has no games, as {' and '.join(kinds)} have; "
            "leave it out."
        )
    names = tuple(dict.fromkeys(filter(None, map(str.strip, games.split(",")))))
    if isinstance(env, AtariConfig):
        names = expand_games(games)
    if not names:
        raise UsageError("--games names no game; give some, separated by commas.")
    return [replace(experiment, env=replace(env, game=name)) for name in names]


def _take_start(argv: list[str], file: ConfigFile) -> tuple[Start, list[str]]:
    """Return what the arguments vary, and the others.

    It is a preset, named by the file or by the first argument, or the experiment of a run.
    """
    if file.path is None:
        preset, argv = take_preset(argv)
        return Start(preset, PRESETS[preset]), argv
    named = argv[0] if argv[:1] and argv[0] in PRESETS else ""
    if file.is_run:
        if named:
            raise UsageError(f"--config is {file.path}, which is instead of the preset {named}.")
        folder = Path("runs", file.path.stem) if file.path.is_file() else file.path
        return Start(str(folder), read_experiment(file.path)), argv
    written = file.take_text("preset")
    if written and named:
        raise UsageError(f"{file.path} has the preset {written}, so leave out {named}.")
    if not (written or named or "agent" in file.nodes):
        raise UsageError(f"{file.path} has no preset and no agent; add preset: NAME.")
    preset, _ = take_preset([written or named or DEFAULT])
    return Start(preset, PRESETS[preset]), argv[bool(named) :]
