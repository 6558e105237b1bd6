"""The arguments of ``reverie train`` as experiments: a preset or a run, ``role:name`` and flags."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import expand_games
from ...envs.errors import UsageError
from ..config.arguments import (
    expand_game_flag,
    parse_job,
    split_roles,
    take_flag,
    take_imports,
)
from ..config.experiment import Experiment
from ..config.introduction import introduction, overview
from ..config.presets import PRESETS, take_preset
from ..config.registry import ENVS
from ..config.roles import choose_all, roles
from ..config.run_names import Start
from ..config.serialization import read_experiment
from .options import RunOptions, TrainOptions

Options = TypeVar("Options", bound=RunOptions)

OWN_FLAGS = ("--config", "--game", "--games", "--import", "--protocol")
"""Flags beside those of the settings."""


def parse_experiment(argv: list[str]) -> tuple[Start, list[Experiment], TrainOptions]:
    """Parse PRESET [role:name ...] [--flags] into one experiment per game.

    ``--config FILE`` takes the place of the preset: the config of a run, to run it again. Returns
    what is varied, the experiments and the options. Raises UsageError for an unknown preset, role
    or part.
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
    start, argv = _take_start(argv)
    argv, games = take_flag(argv, "--games")
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), Experiment, type(usual))
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    own_roles = dict(roles(usual))
    own = [token for token in tokens if token.partition(":")[0] in own_roles]
    chosen = choose_all(start.experiment, [token for token in tokens if token not in own])
    options = choose_all(replace(usual, imports=imports), own)
    if {"-h", "--help"} & {*flags}:
        print(introduction(start.name, chosen, command, options))
    experiment, options = parse_job(
        chosen, options, flags, f"reverie {command} {start.name}", OWN_FLAGS
    )
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


def _take_start(argv: list[str]) -> tuple[Start, list[str]]:
    """Return what the arguments vary, and the others."""
    argv, config = take_flag(argv, "--config")
    if config is None:
        preset, argv = take_preset(argv)
        return Start(preset, PRESETS[preset]), argv
    if argv[:1] and argv[0] in PRESETS:
        raise UsageError(f"--config is {config}, which is instead of the preset {argv[0]}.")
    folder = Path(config).parent if Path(config).name == "config.json" else Path(config)
    return Start(str(folder), read_experiment(folder)), argv
