"""``reverie list [games | presets | roles] [--import MODULE ...]``."""

from ...envs.atari.games import GAME_LISTS, all_games
from ...envs.errors import UsageError

TOPICS = ("games", "presets", "roles")


def run(argv: list[str]) -> int:
    """Print lists of games, presets and roles; without a topic, presets and roles."""
    if {"-h", "--help"} & set(argv):
        print(
            f"reverie list [{' | '.join(TOPICS)}] [--import MODULE ...]; by default presets and "
            "roles. MODULE adds parts of your own."
        )
        return 0
    if "--import" in " ".join(argv):
        from ..config.arguments import take_imports  # imports torch

        argv, _ = take_imports(argv)
    topics = argv or ["presets", "roles"]
    for topic in topics:
        if topic not in TOPICS:
            raise UsageError(f"There is no list of '{topic}'; the lists are {', '.join(TOPICS)}.")
    if "games" in topics:
        for name, games in [*GAME_LISTS.items(), ("all", all_games())]:
            print(f"{name} ({len(games)}): {' '.join(games)}")
    if topics == ["games"]:
        return 0
    from ..config.presets import PRESETS  # imports torch
    from ..config.registry import TABLES, role_name, roles

    if "presets" in topics:
        for name, preset in PRESETS.items():
            steps = preset.total_timesteps
            print(f"preset {name}: {type(preset.agent).__name__}, {steps:,} timesteps")
    if "roles" in topics:
        for base, table in TABLES.items():
            print(f"{role_name(base)}: {', '.join(table)}")
        for name, preset in PRESETS.items():
            print(f"roles in preset {name}: {', '.join(path for path, _ in roles(preset))}")
    return 0
