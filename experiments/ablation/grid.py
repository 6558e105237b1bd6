"""The grid of an ablation: every combination of choices for the roles, in every game."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...envs.errors import UsageError
from ..config.arguments import split_roles, take_imports
from ..config.config_file import ConfigFile
from ..config.config_text import config_text
from ..config.experiment import Experiment
from ..config.roles import check_repeats, choose_all, roles
from ..config.run_names import Start
from ..sessions.command_line import Beginning, begin, in_games, parse_arguments
from ..sessions.options import TrainOptions
from .ablate_options import AblateOptions


@dataclass(frozen=True)
class Choice:
    """A part for a role, with settings of its own."""

    role: str
    name: str
    settings: tuple[str, ...] = ()
    """Settings as ``name=value``; a switch as its name, or ``no-`` and its name."""

    @property
    def argv(self) -> list[str]:
        """The arguments of ``reverie train`` that make this choice."""
        return [f"{self.role}:{self.name}", *(f"--{self.role}.{x}" for x in self.settings)]

    def __str__(self) -> str:
        return f"{self.role}:{'+'.join((self.name, *self.settings))}"


@dataclass(frozen=True)
class Grid:
    """The cells of an ablation of a preset, which are trained with the same options."""

    start: Start
    cells: Mapping[Experiment, tuple[Choice, ...]]
    """Experiments without a seed, each with what distinguishes it from others in its env."""
    options: TrainOptions

    @property
    def name(self) -> str:
        """Name of the preset, or of the run, that the cells vary."""
        return Path(self.start.name).name


def make_grid(argv: list[str], games: str = "", file: ConfigFile | None = None) -> Grid:
    """Return the cells of PRESET [role:a,b ...] [--flags] in each game, in the given order.

    A config file may have the preset, settings and choices.

    ``role:name+setting=value`` changes a setting for that choice alone; a switch has no value. A
    choice for a role that a cell's other parts do not have is left out of the cell: bonus:none has
    no bonus.density. Equal experiments are one cell. Raises UsageError for an unknown role or name,
    a token without one, or a repeated one.

    Example::

        make_grid(["dqn", "bonus:none,simhash"], "pong,freeway")  # four cells
    """
    beginning, tokens, flags = _begin_grid(argv, file or ConfigFile(None))
    alternatives = [_parse_choices(token) for token in tokens]
    base = beginning.experiment
    combinations = [_applicable(base, each) for each in itertools.product(*alternatives)]
    in_each_game = list[list[Experiment]]()
    for combination in combinations:
        own = itertools.chain(*(choice.argv for choice in combination))
        _, experiments, options = parse_arguments("train", [*own, *flags], beginning)
        in_each_game.append(in_games(experiments[0], games) if games else experiments)
    cells: dict[Experiment, tuple[Choice, ...]] = {}
    for in_one_game in zip(*in_each_game, strict=True):
        for experiment, choices in zip(in_one_game, combinations, strict=True):
            cells.setdefault(experiment, choices)
    used_roles = {choice.role for choices in combinations for choice in choices}
    for choice in itertools.chain(*alternatives):
        if choice.role not in used_roles:
            known = ", ".join(path for path, _ in roles(base))
            raise UsageError(
                f"There is no role '{choice.role}' in any cell; the roles are {known}."
            )
    return Grid(beginning.start, cells, options)


def grid_text(argv: list[str], options: AblateOptions, file: ConfigFile) -> str:
    """Return the config file of a grid and its options; see ``make_grid``."""
    beginning, tokens, flags = _begin_grid(argv, file)
    several = {role: names.split(",") for role, _, names in (x.partition(":") for x in tokens)}
    several = {role: names for role, names in several.items() if len(names) > 1}
    single = [token for token in tokens if token.partition(":")[0] not in several]
    games = options.games or beginning.games
    _, experiments, training = parse_arguments("train", [*single, *flags], beginning)
    head = {
        "preset": beginning.start.preset,
        "import": training.imports,
        "games": games,
        "choices": several,
    }
    return config_text(head, experiments[0], options, training, hidden=["seed"])


def _begin_grid(
    argv: list[str], file: ConfigFile
) -> tuple[Beginning[TrainOptions], list[str], list[str]]:
    """Return what the arguments of a grid begin with, the tokens of its choices, and its flags."""
    argv, imports = take_imports(argv)
    choices = file.take_lists("choices")
    beginning, rest = begin(argv, TrainOptions(imports=imports), file)
    if beginning.experiment.seed:
        raise UsageError("The seed of a config is for one run; write first_seed for a grid.")
    tokens, flags = split_roles(rest, Experiment, TrainOptions)
    given = {token.partition(":")[0] for token in tokens}
    written = [f"{role}:{','.join(x)}" for role, x in choices.items() if role not in given]
    check_repeats(tokens)
    return beginning, [*written, *tokens], flags


def _parse_choices(token: str) -> list[Choice]:
    """Return the alternatives of a token ``role:a,b+setting=value``."""
    role, _, names = token.partition(":")
    choices = []
    texts = [*filter(None, map(str.strip, names.split(",")))]
    if repeated := [text for text in texts if texts.count(text) > 1]:
        raise UsageError(f"'{token}' names {repeated[0]} twice; keep one.")
    for text in texts:
        name, *settings = text.split("+")
        choices.append(Choice(role, name, tuple(settings)))
    if not choices:
        raise UsageError(f"'{token}' names no choice; give some, as in {role}:a,b.")
    return choices


def _applicable(base: Experiment, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return the choices whose role exists once the choices for outer roles are applied."""
    kept: list[Choice] = []
    for depth in range(1 + max((choice.role.count(".") for choice in choices), default=0)):
        known = dict(roles(choose_all(base, [f"{x.role}:{x.name}" for x in kept])))
        here = [choice for choice in choices if choice.role.count(".") == depth]
        kept += [choice for choice in here if choice.role in known]
    return tuple(kept)
