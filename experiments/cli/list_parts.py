"""``reverie list [games | presets | pretrained | roles] [--import MODULE ...]``."""

from collections.abc import Iterator
from typing import Any

from ...envs.atari.games import GAME_LISTS, all_games, did_you_mean
from ...envs.errors import UsageError
from ..text.terminal_text import description_list, paragraph, table

TOPICS = ("games", "presets", "pretrained", "roles")


def run(argv: list[str]) -> int:
    """Print lists of what there is to choose from; without a topic, presets and roles."""
    if {"-h", "--help"} & set(argv):
        print(
            paragraph(
                f"reverie list [{' | '.join(TOPICS)}] [--import MODULE ...]; by default presets "
                "and roles. MODULE adds parts of your own. Example: reverie list games"
            )
        )
        return 0
    if "--import" in " ".join(argv):
        from ..config.arguments import take_imports  # imports torch

        argv, _ = take_imports(argv)
    topics = argv or ["presets", "roles"]
    for topic in topics:
        if topic not in TOPICS:
            hint = did_you_mean(topic, TOPICS) or f" The lists are {', '.join(TOPICS)}."
            raise UsageError(f"There is no list of '{topic}'.{hint}")
    if "games" in topics:
        print("\n\n".join(_games()))
    if "pretrained" in topics:
        print(paragraph("Pretrained runs, for reverie play pretrained:NAME and wherever a RUN is "
                        "named:") + "\n")  # fmt: skip
        print(_pretrained())
    if "presets" in topics:
        print(paragraph("Presets, for reverie train PRESET, whose --help describes it:") + "\n")
        print(_presets())
    if "roles" in topics:
        if "presets" in topics:
            print()
        print(
            paragraph("Parts, chosen as role:name; the roles of a preset are in its --help:") + "\n"
        )
        print("\n\n".join(_roles()))
    return 0


def _games() -> Iterator[str]:
    for name, games in [*GAME_LISTS.items(), ("all", all_games())]:
        yield f"{name} ({len(games)}):\n{paragraph(' '.join(games), indent=2)}"


def _pretrained() -> str:
    """Return a table of the pretrained runs: what each is, its size and its first result."""
    from ..sharing.model_card import result_rows
    from ..sharing.pretrained import describe_pretrained, pretrained_names

    rows = [("name", "model", "env", "MB", "result")]
    for name in pretrained_names():
        about = describe_pretrained(name)
        results = [f"{measure} {value}" for measure, value, _ in result_rows(about)]
        size = f"{about['bytes'] / 1e6:.1f}"
        rows.append((name, f"{about['kind']}:{about['model']}", about["env_name"], size,
                     results[0] if results else "-"))  # fmt: skip
    return table(rows)


def _presets() -> str:
    """Return a table of the presets: the agent, the generative model and the paper."""
    from ..config.descriptions import DESCRIPTIONS
    from ..config.presets import PRESETS  # imports torch
    from ..config.roles import part_name

    rows = [("preset", "agent", "model", "paper")]
    for name, about in DESCRIPTIONS.items():
        agent = part_name(PRESETS[name].agent)
        rows.append((name, agent, about.model or "-", about.authors))
    return table(rows)


def _roles() -> Iterator[str]:
    """Yield each role with its parts."""
    from ..config.experiment import Job  # imports torch
    from ..config.field_texts import part_text
    from ..config.registry import TABLES, part_class, role_name
    from ..config.roles import is_reference

    def text(entry: Any) -> str:
        return part_text(entry) + " A privileged reference." * is_reference(part_class(entry))

    for base, parts in TABLES.items():
        if base is not Job:
            rows = [(name, text(entry)) for name, entry in parts.items()]
            yield f"{role_name(base)}:\n{description_list(rows)}"
