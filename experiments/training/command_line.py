"""The arguments of ``reverie train`` as experiments: a preset, ``role:name`` tokens and flags."""

from dataclasses import replace

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean, expand_games
from ...envs.errors import UsageError
from ..config.arguments import (
    expand_game_flag,
    parse_job,
    split_roles,
    take_flag,
    take_imports,
)
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..config.registry import choose_all
from .options import TrainOptions


def parse_experiment(argv: list[str]) -> tuple[str, list[Experiment], TrainOptions]:
    """Parse PRESET [role:name ...] [--flags] into one experiment per game.

    Returns the preset's name, the experiments and the options. Raises UsageError for an unknown
    preset, role or part.
    """
    argv, imports = take_imports(argv)
    if argv[:1] in (["-h"], ["--help"]):
        print(f"reverie train PRESET ...; the presets are {', '.join(PRESETS)}.")
        print("`reverie train PRESET --help` shows every setting of a preset's parts.")
        raise SystemExit(0)
    preset, argv = take_preset(argv)
    argv, games = take_flag(argv, "--games")
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), Experiment, TrainOptions)
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    chosen, options = choose_all(PRESETS[preset], tokens), TrainOptions(imports=imports)
    experiment, options = parse_job(chosen, options, flags, f"reverie train {preset}")
    if games is None:
        return preset, [experiment], options
    env = experiment.env
    if not isinstance(env, AtariConfig):
        raise UsageError("--games needs env:atari; train in one other env at a time.")
    each = [replace(experiment, env=replace(env, game=game)) for game in expand_games(games)]
    return preset, each, options


def take_preset(argv: list[str]) -> tuple[str, list[str]]:
    """Return the preset that the arguments begin with, and the others; raises UsageError."""
    if not argv or argv[0].startswith("-"):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}.")
    if argv[0] not in PRESETS:
        hint = did_you_mean(argv[0], PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{argv[0]}'.{hint}")
    return argv[0], argv[1:]
