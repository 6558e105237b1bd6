"""``reverie list [games | presets | roles]``."""

from ...envs.atari.games import GAME_LISTS, all_games
from ...envs.errors import UsageError

TOPICS = ("games", "presets", "roles")


def run(argv: list[str]) -> int:
    """Print lists of games, presets and roles; without a topic, presets and roles."""
    if {"-h", "--help"} & set(argv):
        print(f"reverie list [{' | '.join(TOPICS)}]; by default presets and roles.")
        return 0
    for arg in argv:
        if arg not in TOPICS:
            raise UsageError(f"There is no list of '{arg}'; the lists are {', '.join(TOPICS)}.")
    if "games" in argv:
        _list_games()
    if not argv or "presets" in argv:
        _list_presets()
    if not argv or "roles" in argv:
        _list_roles()
    return 0


def _list_games() -> None:
    for name, games in GAME_LISTS.items():
        print(f"{name} ({len(games)}): {' '.join(games)}")
    print(f"all ({len(all_games())}): {' '.join(all_games())}")


def _list_presets() -> None:
    from ..config.presets import PRESETS  # imports torch

    for name, preset in PRESETS.items():
        steps = preset.total_timesteps
        print(f"preset {name}: {type(preset.agent).__name__}, {steps:,} timesteps")


def _list_roles() -> None:
    from ..config.presets import PRESETS
    from ..config.registry import TABLES, roles

    for base, table in TABLES.items():
        role = base.__name__.removesuffix("Config").removeprefix("Atari").lower()
        print(f"{role}: {', '.join(table)}")
    for name, preset in PRESETS.items():
        print(f"roles in preset {name}: {', '.join(path for path, _ in roles(preset))}")
