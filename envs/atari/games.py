"""Game lists, and human and random scores for human-normalized scores.

This module loads no large library, so that the command line lists games without torch.
"""

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..errors import UsageError

HUMAN_RANDOM_TABLE = "dqn_zoo (no-op starts, 30-minute cap)"
"""Version of the table below; printed wherever a score is normalized."""

# (random, human), as published with dqn_zoo (Quan & Ostrovski 2020).
HUMAN_RANDOM: dict[str, tuple[float, float]] = {
    "alien": (227.8, 7127.7),
    "amidar": (5.8, 1719.5),
    "assault": (222.4, 742.0),
    "asterix": (210.0, 8503.3),
    "asteroids": (719.1, 47388.7),
    "atlantis": (12850.0, 29028.1),
    "bank_heist": (14.2, 753.1),
    "battle_zone": (2360.0, 37187.5),
    "beam_rider": (363.9, 16926.5),
    "berzerk": (123.7, 2630.4),
    "bowling": (23.1, 160.7),
    "boxing": (0.1, 12.1),
    "breakout": (1.7, 30.5),
    "centipede": (2090.9, 12017.0),
    "chopper_command": (811.0, 7387.8),
    "crazy_climber": (10780.5, 35829.4),
    "defender": (2874.5, 18688.9),
    "demon_attack": (152.1, 1971.0),
    "double_dunk": (-18.6, -16.4),
    "enduro": (0.0, 860.5),
    "fishing_derby": (-91.7, -38.7),
    "freeway": (0.0, 29.6),
    "frostbite": (65.2, 4334.7),
    "gopher": (257.6, 2412.5),
    "gravitar": (173.0, 3351.4),
    "hero": (1027.0, 30826.4),
    "ice_hockey": (-11.2, 0.9),
    "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0),
    "krull": (1598.0, 2665.5),
    "kung_fu_master": (258.5, 22736.3),
    "montezuma_revenge": (0.0, 4753.3),
    "ms_pacman": (307.3, 6951.6),
    "name_this_game": (2292.3, 8049.0),
    "phoenix": (761.4, 7242.6),
    "pitfall": (-229.4, 6463.7),
    "pong": (-20.7, 14.6),
    "private_eye": (24.9, 69571.3),
    "qbert": (163.9, 13455.0),
    "riverraid": (1338.5, 17118.0),
    "road_runner": (11.5, 7845.0),
    "robotank": (2.2, 11.9),
    "seaquest": (68.4, 42054.7),
    "skiing": (-17098.1, -4336.9),
    "solaris": (1236.3, 12326.7),
    "space_invaders": (148.0, 1668.7),
    "star_gunner": (664.0, 10250.0),
    "surround": (-10.0, 6.5),
    "tennis": (-23.8, -8.3),
    "time_pilot": (3568.0, 5229.2),
    "tutankham": (11.4, 167.6),
    "up_n_down": (533.4, 11693.2),
    "venture": (0.0, 1187.5),
    "video_pinball": (16256.9, 17667.9),
    "wizard_of_wor": (563.5, 4756.5),
    "yars_revenge": (3092.9, 54576.9),
    "zaxxon": (32.5, 9173.3),
}

ATARI57 = tuple(HUMAN_RANDOM)
# Kaiser et al. 2020 (SimPLe), the Atari 100k games.
ATARI26 = tuple(
    "alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command "
    "crazy_climber demon_attack freeway frostbite gopher hero jamesbond kangaroo krull "
    "kung_fu_master ms_pacman pong private_eye qbert road_runner seaquest up_n_down".split()
)
# Bellemare et al. 2016: the hard-exploration games with sparse reward.
HARD_EXPLORATION = tuple(
    "freeway gravitar montezuma_revenge pitfall private_eye solaris venture".split()
)

GAME_LISTS = {"atari26": ATARI26, "atari57": ATARI57, "hard": HARD_EXPLORATION}


@cache
def all_games() -> tuple[str, ...]:
    """Return the names of all games whose ROM comes with ale_py.

    Raises UsageError if ale_py is not installed.
    """
    spec = find_spec("ale_py")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("ale_py is not installed; `pip install ale-py` installs the games.")
    roms = Path(next(iter(spec.submodule_search_locations))) / "roms"
    return tuple(sorted(path.stem for path in roms.glob("*.bin")))


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a hint with the name most similar to ``name`` and those about as similar, or ""."""
    names, cutoff = list(names), 0.5
    if best := difflib.get_close_matches(name, names, n=1, cutoff=cutoff):
        cutoff = max(cutoff, difflib.SequenceMatcher(None, best[0], name).ratio() - 0.15)
    near = difflib.get_close_matches(name, names, n=3, cutoff=cutoff)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def check_game(name: str) -> str:
    """Return the name of a game; raise UsageError with similar names if there is none."""
    if name not in all_games():
        hint = did_you_mean(name.lower().replace("-", "_").replace(" ", "_"), all_games())
        raise UsageError(f"There is no game '{name}'.{hint} `reverie list games` prints all.")
    return name


def expand_games(text: str) -> tuple[str, ...]:
    """Return the games of a list ("atari26", "atari57", "hard") or of comma-separated names.

    Raises UsageError if a name is not a game, or if there is none.
    """
    if text in GAME_LISTS:
        return GAME_LISTS[text]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"No game is named in '{text}'; give {', '.join(GAME_LISTS)} or names.")
    return tuple(dict.fromkeys(check_game(name) for name in names))


def human_normalized(game: str, score: float) -> float | None:
    """Return (score - random) / (human - random), or None if the game's scores are unknown.

    0 is the score of random play, 1 that of the human of ``HUMAN_RANDOM_TABLE``.
    """
    if game not in HUMAN_RANDOM:
        return None
    random, human = HUMAN_RANDOM[game]
    return (score - random) / (human - random)
