"""One copy of an environment of this package as a Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np

from .errors import UsageError
from .interface import EnvConfig


class SingleEnv(gymnasium.Env[Any, Any]):
    """A single environment, for libraries that make vector environments of their own.

    Observations, rewards and ``info`` are the first row of those of ``config.build(1)``, which is
    faster with several copies. Raises UsageError for a config whose environment cannot be reset
    before its episode ends.

    Example::

        from reverie.envs.catch import CatchConfig
        from reverie.envs.single_env import SingleEnv

        env = SingleEnv(CatchConfig())
        obs, _ = env.reset(seed=0)
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    """

    def __init__(self, config: EnvConfig) -> None:
        self._envs = config.build(1)
        if not self._envs.metadata.get("reset_mask"):
            raise UsageError(
                f"The environment of {type(config).__name__} is a vector of Gymnasium environments "
                "already; make one of these by gymnasium.make."
            )
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        obs, info = self._envs.reset(seed=seed)
        return np.array(obs[0]), _first_row(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self._envs.step(np.array([action]))
        ended = bool(terminated[0]), bool(truncated[0])
        return np.array(obs[0]), float(reward[0]), *ended, _first_row(info)

    def close(self) -> None:
        self._envs.close()


def _first_row(info: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the only copy, without Gymnasium's masks of them."""
    return {name: x[0] for name, x in info.items() if not name.startswith("_")}
