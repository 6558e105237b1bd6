"""Small worlds in numpy: what all of them share, their spaces, seeds and masked resets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

Array = NDArray[Any]


class SmallWorld(VectorEnv[Array, Array, Array]):
    """N streams whose episodes ``begin`` where a mask says, and that are ``look``-ed at."""

    def __init__(self, num_envs: int, look_shape: tuple[int, int, int], num_actions: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.single_observation_space = Box(0, 255, look_shape, np.uint8)
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
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        if isinstance(seed, int):
            seed = [seed + stream for stream in range(self.num_envs)]
        if seed is not None:
            for stream in np.flatnonzero(mask).tolist():
                self.generators[stream] = np.random.default_rng(seed[stream])
        self.begin(mask)
        return self.look(), {}

    def begin(self, mask: Array) -> None:
        """New episodes in these streams, drawn from their own generators."""
        raise NotImplementedError

    def look(self) -> Array:
        """Every stream's look, uint8."""
        raise NotImplementedError
