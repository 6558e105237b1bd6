"""The grid of an ablation: every combination of choices for the roles, in every game."""

import itertools
import shlex
from dataclasses import dataclass

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean, expand_games
from ...envs.errors import UsageError
from ..config.arguments import split_roles
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..config.registry import choose_all, roles
from ..training.command_line import parse_experiment


@dataclass(frozen=True)
class Cell:
    """One combination of choices: an experiment without a seed."""

    argv: tuple[str, ...]
    """Arguments of ``reverie train``, without the seed."""
    experiment: Experiment
    label: str
    """The arguments that distinguish this cell from the others."""


def make_grid(argv: list[str], games: str = "") -> list[Cell]:
    """Return the cells of PRESET [role:a,b ...] [--flags] in each game, in the given order.

    ``role:name+setting=value`` changes a setting for that choice alone. A choice for a role that a
    cell's other parts do not have is left out of the cell: bonus:none has no bonus.density. Equal
    experiments are one cell. Raises UsageError for an unknown role or name, or a token without one.

    Example::

        make_grid(["dqn", "bonus:none,simhash"], "pong,freeway")  # four cells
    """
    if not argv or argv[0].startswith("-"):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}.")
    preset, rest = argv[0], argv[1:]
    if preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{preset}'.{hint}")
    tokens, flags = split_roles(rest, PRESETS[preset])
    choices = [_split_choices(token) for token in tokens]
    game_flags = [["--env.game", game] for game in expand_games(games)] if games else [[]]
    cells: dict[Experiment, Cell] = {}
    used_roles: set[str] = set()
    for game_flag, combination in itertools.product(game_flags, itertools.product(*choices)):
        applicable = _applicable_choices(preset, list(combination))
        used_roles |= {path for path, _ in applicable}
        own = [*itertools.chain(*(_choice_argv(*choice) for choice in applicable)), *game_flag]
        cell_argv = [preset, *own, *flags]
        _, (experiment,), _ = parse_experiment(cell_argv)
        if games and not isinstance(experiment.env, AtariConfig):
            raise UsageError("--games needs env:atari; choose other envs as env:catch,deep-sea.")
        cells.setdefault(experiment, Cell(tuple(cell_argv), experiment, shlex.join(own)))
    for path in (path for alternatives in choices for path, _ in alternatives):
        if path not in used_roles:
            known = ", ".join(path for path, _ in roles(PRESETS[preset]))
            raise UsageError(f"There is no role '{path}' in any cell; the roles are {known}.")
    return list(cells.values())


def _split_choices(token: str) -> list[tuple[str, str]]:
    """Return the alternatives (role, name) of a token ``role:a,b``."""
    path, _, names = token.partition(":")
    alternatives = [(path, name.strip()) for name in names.split(",") if name.strip()]
    if not alternatives:
        raise UsageError(f"'{token}' names no choice; give some, as in {path}:a,b.")
    return alternatives


def _applicable_choices(preset: str, choices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the choices whose role exists once the choices for outer roles are applied."""
    kept: list[tuple[str, str]] = []
    for depth in range(1 + max((path.count(".") for path, _ in choices), default=0)):
        tokens = [f"{path}:{name.partition('+')[0]}" for path, name in kept]
        known = dict(roles(choose_all(PRESETS[preset], tokens)))
        here = [choice for choice in choices if choice[0].count(".") == depth]
        kept += [choice for choice in here if choice[0] in known]
    return kept


def _choice_argv(path: str, choice: str) -> list[str]:
    """Return ``bonus``, ``simhash+scale=0.3`` as ``bonus:simhash --bonus.scale=0.3``."""
    name, *settings = choice.split("+")
    for setting in settings:
        if "=" not in setting:
            raise UsageError(f"'{setting}' in {path}:{choice} has no value; write {setting}=value.")
    return [f"{path}:{name}", *(f"--{path}.{setting}" for setting in settings)]
