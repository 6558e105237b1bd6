"""The arguments of ``reverie train`` as experiments: a preset, ``role:name`` tokens and flags."""

from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean, expand_games
from ...envs.errors import UsageError
from ..config.arguments import (
    expand_game_flag,
    import_modules,
    parse_flags,
    split_roles,
    take_flag,
)
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..config.registry import choose_all
from .options import TrainOptions


@dataclass(frozen=True)
class _Train:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = TrainOptions()


def parse_experiment(argv: list[str]) -> tuple[str, list[Experiment], TrainOptions]:
    """Parse PRESET [role:name ...] [--flags] into one experiment per game.

    Returns the preset's name, the experiments and the options. Raises UsageError for an unknown
    preset, role or part.
    """
    argv = import_modules(argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}.")
    if argv[0] in ("-h", "--help"):
        print(f"reverie train PRESET ...; the presets are {', '.join(PRESETS)}.")
        print("`reverie train PRESET --help` shows every setting of a preset's parts.")
        raise SystemExit(0)
    preset, argv = argv[0], argv[1:]
    if preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{preset}'.{hint}")
    argv, games = take_flag(argv, "--games")
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), PRESETS[preset])
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    chosen = choose_all(PRESETS[preset], tokens)
    parsed = parse_flags(_Train, flags, f"reverie train {preset}", default=_Train(chosen))
    if games is None:
        return preset, [parsed.experiment], parsed.options
    if not isinstance(parsed.experiment.env, AtariConfig):
        raise UsageError("--games needs env:atari; train in one other env at a time.")
    env = parsed.experiment.env
    experiments = [
        replace(parsed.experiment, env=replace(env, game=game)) for game in expand_games(games)
    ]
    return preset, experiments, parsed.options
