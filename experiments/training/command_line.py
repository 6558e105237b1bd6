"""The arguments of ``reverie train`` as experiments: a preset or a run, ``role:name`` and flags."""

from dataclasses import dataclass, replace
from pathlib import Path

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import GAME_LISTS, did_you_mean, expand_games
from ...envs.errors import UsageError
from ..config.arguments import (
    check_flags,
    expand_game_flag,
    parse_job,
    split_roles,
    take_flag,
    take_imports,
)
from ..config.experiment import Experiment
from ..config.presets import DESCRIPTIONS, PRESETS
from ..config.registry import choose_all, chosen_name, part_at, roles
from ..config.run_names import default_folder, repeated_folder
from ..config.serialization import read_experiment
from ..runs.terminal_text import description_list, paragraph
from .options import TrainOptions

EXAMPLE = "reverie train ppo --game pong --total-timesteps 200000"
OWN_FLAGS = ("--config", "--game", "--games", "--import", "--protocol")
"""Flags beside those of the settings."""


@dataclass(frozen=True)
class Start:
    """What the arguments vary: a preset, or the experiment of a run."""

    name: str
    """Name of the preset, or the run folder."""
    experiment: Experiment

    @property
    def is_preset(self) -> bool:
        """Whether it is a preset."""
        return self.name in PRESETS

    def folder(self, experiment: Experiment) -> Path:
        """Return the default folder of a run of an experiment that varies this one."""
        if self.is_preset:
            return default_folder(self.name, experiment)
        return repeated_folder(Path(self.name), self.experiment, experiment)


def parse_experiment(argv: list[str]) -> tuple[Start, list[Experiment], TrainOptions]:
    """Parse PRESET [role:name ...] [--flags] into one experiment per game.

    ``--config FILE`` takes the place of the preset: the config of a run, to run it again. Returns
    what is varied, the experiments and the options. Raises UsageError for an unknown preset, role
    or part.
    """
    argv, imports = take_imports(argv)
    if argv[:1] in (["-h"], ["--help"]):
        print(_overview())
        raise SystemExit(0)
    start, argv = _take_start(argv)
    argv, games = take_flag(argv, "--games")
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), Experiment, TrainOptions)
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    chosen, options = choose_all(start.experiment, tokens), TrainOptions(imports=imports)
    check_flags(flags, OWN_FLAGS, Experiment, TrainOptions)
    if {"-h", "--help"} & {*flags}:
        print(_introduction(start, chosen))
    experiment, options = parse_job(chosen, options, flags, f"reverie train {start.name}")
    if games is None:
        return start, [experiment], options
    env = experiment.env
    if not isinstance(env, AtariConfig):
        raise UsageError("--games needs env:atari; train in one other env at a time.")
    each = [replace(experiment, env=replace(env, game=game)) for game in expand_games(games)]
    return start, each, options


def take_preset(argv: list[str]) -> tuple[str, list[str]]:
    """Return the preset that the arguments begin with, and the others; raises UsageError."""
    if not argv or argv[0].startswith("-"):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}. For example: {EXAMPLE}")
    if argv[0] not in PRESETS:
        hint = did_you_mean(argv[0], PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{argv[0]}'.{hint}")
    return argv[0], argv[1:]


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


def _overview() -> str:
    """Return the help of ``reverie train`` without a preset."""
    return "\n".join(
        [
            "Train an agent: a preset, with other parts and settings as you like.",
            "",
            "  reverie train PRESET [role:name ...] [--flags]",
            "  reverie train --config RUN/config.json [--flags]   runs it again",
            "",
            paragraph(f"Example: {EXAMPLE}"),
            "",
            "Presets:",
            description_list([(name, x.text) for name, x in DESCRIPTIONS.items()]),
            "",
            paragraph("reverie train PRESET --help shows the choices and settings of a preset."),
        ]
    )


def _introduction(start: Start, experiment: Experiment) -> str:
    """Return what is varied, the most useful flags, and the choices of each role."""
    flags = [("--import MODULE", "Module with parts of your own; may be repeated.")]
    example = f"reverie train --config {start.name}/config.json --seed 1"
    about = [f"The experiment of {start.name}, again."]
    if start.is_preset:
        description = DESCRIPTIONS[start.name]
        about = [description.text, f"Paper: {description.paper}."]
        steps = min(200_000, start.experiment.total_timesteps)
        example = f"reverie train {start.name} --total-timesteps {steps}"
    if isinstance(experiment.env, AtariConfig):
        example += " --game pong" * start.is_preset
        flags = [
            ("--game GAME", f"The game, now {experiment.env.game}; reverie list games prints all."),
            ("--games GAMES", f"One run per game: {', '.join(GAME_LISTS)}, or names with commas."),
            ("--protocol NAME", f"The protocol, now {experiment.env.protocol_label}."),
            *flags,
        ]
    choices = []
    for path, table in roles(experiment):
        chosen = chosen_name(part_at(experiment, path), table)
        choices.append((path, " ".join(f"[{x}]" if x == chosen else x for x in table)))
    texts = [
        *map(paragraph, about),
        paragraph(f"Example: {example}"),
        description_list(flags),
        "Choices of each role, as role:name; [the present one]:",
        description_list(choices),
    ]
    return "\n\n".join(["\n".join(texts[: len(about)]), *texts[len(about) :]]) + "\n"
