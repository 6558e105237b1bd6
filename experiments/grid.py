"""The grid of an ablation: words into cells, and cells into tasks."""

import itertools
import shlex
from dataclasses import dataclass

from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.games import expand_games, near_names
from experiments.config import Experiment, choose_all, roles
from experiments.parse import (
    parse_experiment,
    split_roles,
)
from experiments.presets import PRESETS


@dataclass(frozen=True)
class Cell:
    """One choice for every role, with the words that make it."""

    words: tuple[str, ...]
    """What follows ``reverie train``."""
    experiment: Experiment
    label: str
    """The choices alone."""


def grid(words: list[str], games: str = "") -> list[Cell]:
    """The cells of PRESET [role:a,b ...] [--flags] on each game, in the order they were named.

    ``name+setting=value`` sets what only that choice has. A choice inside a part that a cell does
    not have is left out there: bonus:none needs no bonus.density. Raises UsageError for a role or
    a name that is not there, and for an empty grid.
    """
    if not words or words[0].startswith("-"):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}.")
    preset, rest = words[0], words[1:]
    if preset not in PRESETS:
        hint = near_names(preset, PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{preset}'.{hint}")
    tokens, flags = split_roles(rest, PRESETS[preset])
    choices = []
    for token in tokens:
        path, _, names = token.partition(":")
        each = [(path, name.strip()) for name in names.split(",") if name.strip()]
        if not each:
            raise UsageError(f"'{token}' names no choice; give some, as in {path}:a,b.")
        choices.append(each)
    worlds = [["--env.game", game] for game in expand_games(games)] if games else [[]]
    cells: dict[Experiment, Cell] = {}
    used: set[str] = set()
    for world, combination in itertools.product(worlds, itertools.product(*choices)):
        chosen = _applicable(preset, list(combination))
        used |= {path for path, _ in chosen}
        own = [*itertools.chain(*(_words(*choice) for choice in chosen)), *world]
        made = [preset, *own, *flags]
        _, (experiment,), _ = parse_experiment(made)
        if games and not isinstance(experiment.env, AtariConfig):
            raise UsageError("--games needs env:atari; name other worlds as env:catch,deep-sea.")
        cells.setdefault(experiment, Cell(tuple(made), experiment, shlex.join(own)))
    for path in (path for each in choices for path, _ in each):
        if path not in used:
            known = ", ".join(path for path, _ in roles(PRESETS[preset]))
            raise UsageError(f"There is no role '{path}' in any cell; the roles are {known}.")
    return list(cells.values())


def _applicable(preset: str, choices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The choices whose role the parts chosen outside it have."""
    kept: list[tuple[str, str]] = []
    for depth in range(1 + max((path.count(".") for path, _ in choices), default=0)):
        config = choose_all(PRESETS[preset], [f"{p}:{n.partition('+')[0]}" for p, n in kept])
        known = dict(roles(config))
        here = [choice for choice in choices if choice[0].count(".") == depth]
        kept += [choice for choice in here if choice[0] in known]
    return kept


def _words(path: str, choice: str) -> list[str]:
    """``bonus``, ``simhash+scale=0.3`` as the words of ``reverie train``."""
    name, *settings = choice.split("+")
    for setting in settings:
        if "=" not in setting:
            raise UsageError(f"'{setting}' in {path}:{choice} sets nothing; write setting=value.")
    return [f"{path}:{name}", *(f"--{path}.{setting}" for setting in settings)]
