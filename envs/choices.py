"""Every world by name: the command line, ``reverie list`` and the law tests read this table."""

from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.deep_sea import DeepSeaConfig
from envs.gym import GymConfig
from envs.interface import EnvConfig
from envs.maze import MazeConfig

ENVS: dict[str, type[EnvConfig]] = {
    "atari": AtariConfig,
    "catch": CatchConfig,
    "deep-sea": DeepSeaConfig,
    "gym": GymConfig,
    "maze": MazeConfig,
}
