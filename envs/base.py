"""Base class of small environments in numpy: their spaces, seeds and masked resets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

Array = NDArray[Any]


class SmallEnv(VectorEnv[Array, Array, Array]):
    """Vector environment of uint8 images, one numpy generator per copy.

    Subclasses implement ``reset_envs``, ``observe`` and ``step`` (with NEXT_STEP autoreset).
    """

    def __init__(self, num_envs: int, obs_shape: tuple[int, int, int], num_actions: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.single_observation_space = Box(0, 255, obs_shape, np.uint8)
        self.single_action_space = Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators = [np.random.default_rng() for _ in range(num_envs)]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Reset all envs, or those of ``options["reset_mask"]``, after seeding them if asked."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        if isinstance(seed, int):
            seed = [seed + i for i in range(self.num_envs)]
        if seed is not None:
            for i in np.flatnonzero(mask).tolist():
                self.generators[i] = np.random.default_rng(seed[i])
        self.reset_envs(mask)
        return self.observe(), {}

    def reset_envs(self, mask: Array) -> None:
        """Start new episodes in the masked envs, drawn from their own generators."""
        raise NotImplementedError

    def observe(self) -> Array:
        """Return the observations of all envs, uint8."""
        raise NotImplementedError
