"""The grid of an ablation: every combination of choices for the roles, in every game."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...envs.errors import UsageError
from ..config.arguments import split_roles, take_imports
from ..config.experiment import Experiment
from ..config.presets import PRESETS, take_preset
from ..config.roles import choose_all, roles
from ..sessions.command_line import in_games, parse_experiment
from ..sessions.options import TrainOptions


@dataclass(frozen=True)
class Choice:
    """A part for a role, with settings of its own."""

    role: str
    name: str
    settings: tuple[str, ...] = ()
    """Settings as ``name=value``."""

    @property
    def argv(self) -> list[str]:
        """The arguments of ``reverie train`` that make this choice."""
        return [f"{self.role}:{self.name}", *(f"--{self.role}.{x}" for x in self.settings)]

    def __str__(self) -> str:
        return f"{self.role}:{'+'.join((self.name, *self.settings))}"


@dataclass(frozen=True)
class Grid:
    """The cells of an ablation of a preset, which are trained with the same options."""

    preset: str
    cells: Mapping[Experiment, tuple[Choice, ...]]
    """Experiments without a seed, each with what distinguishes it from others in its env."""
    options: TrainOptions


def make_grid(argv: list[str], games: str = "") -> Grid:
    """Return the cells of PRESET [role:a,b ...] [--flags] in each game, in the given order.

    ``role:name+setting=value`` changes a setting for that choice alone. A choice for a role that a
    cell's other parts do not have is left out of the cell: bonus:none has no bonus.density. Equal
    experiments are one cell. Raises UsageError for an unknown role or name, or a token without one.

    Example::

        make_grid(["dqn", "bonus:none,simhash"], "pong,freeway")  # four cells
    """
    argv, imports = take_imports(argv)
    preset, rest = take_preset(argv)
    tokens, flags = split_roles(rest, Experiment, TrainOptions)
    alternatives = [_parse_choices(token) for token in tokens]
    combinations = [_applicable(preset, each) for each in itertools.product(*alternatives)]
    in_each_game = list[list[Experiment]]()
    for choices in combinations:
        own = itertools.chain(*(choice.argv for choice in choices))
        _, experiments, options = parse_experiment([preset, *own, *flags])
        in_each_game.append(in_games(experiments[0], games) if games else experiments)
    cells: dict[Experiment, tuple[Choice, ...]] = {}
    for in_one_game in zip(*in_each_game, strict=True):
        for experiment, choices in zip(in_one_game, combinations, strict=True):
            cells.setdefault(experiment, choices)
    used_roles = {choice.role for choices in combinations for choice in choices}
    for choice in itertools.chain(*alternatives):
        if choice.role not in used_roles:
            known = ", ".join(path for path, _ in roles(PRESETS[preset]))
            raise UsageError(
                f"There is no role '{choice.role}' in any cell; the roles are {known}."
            )
    return Grid(preset, cells, replace(options, imports=imports))


def _parse_choices(token: str) -> list[Choice]:
    """Return the alternatives of a token ``role:a,b+setting=value``."""
    role, _, names = token.partition(":")
    choices = []
    for text in filter(None, map(str.strip, names.split(","))):
        name, *settings = text.split("+")
        for setting in settings:
            if "=" not in setting:
                raise UsageError(
                    f"'{setting}' in {role}:{text} has no value; write {setting}=value."
                )
        choices.append(Choice(role, name, tuple(settings)))
    if not choices:
        raise UsageError(f"'{token}' names no choice; give some, as in {role}:a,b.")
    return choices


def _applicable(preset: str, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return the choices whose role exists once the choices for outer roles are applied."""
    kept: list[Choice] = []
    for depth in range(1 + max((choice.role.count(".") for choice in choices), default=0)):
        known = dict(roles(choose_all(PRESETS[preset], [f"{x.role}:{x.name}" for x in kept])))
        here = [choice for choice in choices if choice.role.count(".") == depth]
        kept += [choice for choice in here if choice.role in known]
    return tuple(kept)
