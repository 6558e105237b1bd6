"""What `reverie train --help` opens with: the presets, or what one is and what it can vary."""

from typing import Any

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import GAME_LISTS
from ..text.terminal_text import description_list, paragraph
from .descriptions import DESCRIPTIONS
from .experiment import Experiment
from .presets import EXAMPLE, PRESETS
from .roles import part_at, part_name, roles

EXAMPLES = {"train": EXAMPLE, "imagine": "reverie imagine ppo --game pong predictor:small"}
PURPOSES = {
    "train": "Train an agent: a preset, with other parts and settings as you like.",
    "imagine": "Train an agent in imagination alone, in rounds: record play, fit a predictor, "
    "train in it, and record the play of the better agent.",
}
"""What the commands that train agents are for."""


def overview(command: str) -> str:
    """Return the help of a command that trains agents, without a preset."""
    return "\n".join(
        [
            paragraph(PURPOSES[command]),
            "",
            f"  reverie {command} PRESET [role:name ...] [--flags]",
            f"  reverie {command} --config FILE [role:name ...] [--flags]",
            "",
            paragraph(
                "A config file has what flags set, in YAML or JSON; --print-config writes one. The "
                "config.json of a run runs its experiment again, in another folder."
            ),
            "",
            paragraph(f"Example: {EXAMPLES[command]}"),
            "",
            "Presets:",
            description_list([(name, x.text) for name, x in DESCRIPTIONS.items()]),
            "",
            paragraph(
                f"reverie {command} PRESET --help shows the choices and settings of a preset."
            ),
        ]
    )


def introduction(name: str, experiment: Experiment, command: str, options: Any) -> str:
    """Return what a preset or the config of a run is, its main flags, and the choices of each role.

    ``name`` is that of the preset, or the run folder.
    """
    flags = [
        ("--import MODULE", "Module with parts of your own; may be repeated."),
        ("--config FILE", "Settings in YAML or JSON, which flags override."),
        ("--print-config", "Print all settings as such a file, and run nothing."),
    ]
    example = f"reverie train --config {name}/config.json --seed 1"
    about = [f"The experiment of {name}, again."]
    if name in PRESETS:
        description = DESCRIPTIONS[name]
        about = [description.text, f"Paper: {description.paper}."]
        example = f"reverie {command} {name}"
        if command == "train":
            example += f" --total-timesteps {min(200_000, experiment.total_timesteps)}"
    if isinstance(experiment.env, AtariConfig):
        example += " --game pong" * (name in PRESETS)
        flags = [
            ("--game GAME", f"The game, now {experiment.env.game}; reverie list games prints all."),
            ("--games GAMES", f"One run per game: {', '.join(GAME_LISTS)}, or names with commas."),
            ("--protocol NAME", f"The protocol, now {experiment.env.protocol_label}."),
            *flags,
        ]
    choices = []
    for config, path, table in ((x, *role) for x in (options, experiment) for role in roles(x)):
        chosen = part_name(part_at(config, path))
        choices.append((path, " ".join(f"[{x}]" if x == chosen else x for x in table)))
    texts = [
        *map(paragraph, about),
        paragraph(f"Example: {example}"),
        description_list(flags),
        "Choices of each role, as role:name; [the present one]:",
        description_list(choices),
    ]
    return "\n\n".join(["\n".join(texts[: len(about)]), *texts[len(about) :]]) + "\n"
