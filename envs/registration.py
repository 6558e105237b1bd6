"""Ids of this package's environments for ``gymnasium.make`` and ``gymnasium.make_vec``.

They are registered when this module is imported, as by the id itself::

    import gymnasium

    envs = gymnasium.make_vec(
        "reverie.envs.registration:reverie/Atari-v0", num_envs=8, game="pong", protocol="atari100k"
    )
"""

from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from .atari.atari import AtariConfig
from .atari.games import did_you_mean
from .atari.protocol import PROTOCOLS
from .catch import CatchConfig
from .deep_sea import DeepSeaConfig
from .errors import UsageError
from .interface import EnvConfig
from .maze import MazeConfig
from .minatar import MinAtarConfig
from .single_env import SingleEnv

KINDS: dict[str, type[EnvConfig]] = {
    "Atari": AtariConfig,
    "Catch": CatchConfig,
    "DeepSea": DeepSeaConfig,
    "Maze": MazeConfig,
    "MinAtar": MinAtarConfig,
}
"""Configs by the name in the id; their settings are keyword arguments of ``make``."""


def make_single(kind: str, **settings: Any) -> SingleEnv:
    """Return one copy of an environment; a protocol may be given by its name.

    Raises UsageError for an unknown protocol, and for a setting out of its range.
    """
    return SingleEnv(_config(kind, settings))


def make_vector(kind: str, num_envs: int = 1, **settings: Any) -> VectorEnv[Any, Any, Any]:
    """Return ``num_envs`` copies of an environment, with NEXT_STEP autoreset.

    Raises UsageError for an unknown protocol, and for a setting out of its range.
    """
    return _config(kind, settings).build(num_envs)


def _config(kind: str, settings: dict[str, Any]) -> EnvConfig:
    """Return the config of an environment, whose protocol may be named."""
    name = settings.get("protocol")
    if isinstance(name, str):
        if name not in PROTOCOLS:
            hint = did_you_mean(name, PROTOCOLS) or f" They are {', '.join(PROTOCOLS)}."
            raise UsageError(f"There is no protocol '{name}'.{hint}")
        settings = settings | {"protocol": PROTOCOLS[name]}
    return KINDS[kind](**settings)


for _name in KINDS:
    gymnasium.register(
        f"reverie/{_name}-v0",
        entry_point=f"{__name__}:make_single",
        vector_entry_point=f"{__name__}:make_vector",
        kwargs={"kind": _name},
    )
