"""The arguments of ``reverie train`` as experiments: a preset or a run, ``role:name`` and flags."""

from dataclasses import replace
from pathlib import Path

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
from ..config.registry import choose_all
from ..config.run_names import Start
from ..config.serialization import read_experiment
from ..sessions.options import TrainOptions

OWN_FLAGS = ("--config", "--game", "--games", "--import", "--protocol")
"""Flags beside those of the settings."""


def parse_experiment(argv: list[str]) -> tuple[Start, list[Experiment], TrainOptions]:
    """Parse PRESET [role:name ...] [--flags] into one experiment per game.

    ``--config FILE`` takes the place of the preset: the config of a run, to run it again. Returns
    what is varied, the experiments and the options. Raises UsageError for an unknown preset, role
    or part.
    """
    argv, imports = take_imports(argv)
    if argv[:1] in (["-h"], ["--help"]):
        print(overview())
        raise SystemExit(0)
    start, argv = _take_start(argv)
    argv, games = take_flag(argv, "--games")
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), Experiment, TrainOptions)
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    chosen, options = choose_all(start.experiment, tokens), TrainOptions(imports=imports)
    if {"-h", "--help"} & {*flags}:
        print(introduction(start.name, chosen))
    program = f"reverie train {start.name}"
    experiment, options = parse_job(chosen, options, flags, program, OWN_FLAGS)
    if games is None:
        return start, [experiment], options
    env = experiment.env
    if not isinstance(env, AtariConfig):
        raise UsageError("--games needs env:atari; train in one other env at a time.")
    each = [replace(experiment, env=replace(env, game=game)) for game in expand_games(games)]
    return start, each, options


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
