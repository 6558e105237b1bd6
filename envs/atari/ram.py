"""The true state of games: the bytes of the console's memory that hold players, enemies and rooms.

Addresses are those of AtariARI (Anand et al. 2019, "Unsupervised State Representation Learning in
Atari"), of OCAtari (Delfosse et al. 2024) where it lists more, and of ALE's own lives. Timers and
scores are left out, because they tell equal situations apart. Tests check them against real play.
"""

RAM: dict[str, dict[str, int]] = {
    "ms_pacman": {
        "player_x": 10, "player_y": 16,
        "sue_x": 6, "sue_y": 12, "inky_x": 7, "inky_y": 13,
        "pinky_x": 8, "pinky_y": 14, "blinky_x": 9, "blinky_y": 15,
        "lives": 123,
    },
    "qbert": {
        "player_x": 43, "player_y": 67, "player_column": 35,
        "red_enemy_column": 69, "green_enemy_column": 105,
        "lives": 8,
    },
    "pong": {
        "player_x": 46, "player_y": 51, "enemy_x": 45, "enemy_y": 50, "ball_x": 49, "ball_y": 54,
    },
    "freeway": {"player_y": 14, **{f"car_{i}_x": 108 + i for i in range(10)}},
    "montezuma_revenge": {
        "room": 3, "player_x": 42, "player_y": 43, "skull_x": 47, "skull_y": 46,
        "monster_x": 44, "monster_y": 45, "inventory": 65, "lives": 58,
    },
    "frostbite": {
        "player_x": 102, "player_y": 100, "bear_x": 104, "igloo_blocks": 77,
        **{f"ice_{row}_x": 34 - row for row in range(4)},
        **{f"enemy_{i}_x": 84 + i for i in range(4)},
        "lives": 76,
    },
}  # fmt: skip
"""Names and addresses of bytes, by game."""
