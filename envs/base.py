"""Base class of small environments in numpy: spaces, seeds, masked resets and snapshots."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from .layout import Layout

Array = NDArray[Any]


class SmallEnv(VectorEnv[Array, Array, Array]):
    """Vector environment of uint8 images, one numpy generator per copy.

    Subclasses implement ``reset_envs``, ``observe``, ``true_state`` and ``step`` (with NEXT_STEP
    autoreset), and name the arrays of their state in ``STATE``.
    """

    STATE: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        num_envs: int,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        privileged_names: tuple[str, ...],
        axes: str = "CHW",
    ) -> None:
        self.privileged_names = privileged_names
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.layout = Layout(axes, trusted=True)
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
        return self.observe(), self.info()

    def reset_envs(self, mask: Array) -> None:
        """Start new episodes in the masked envs, drawn from their own generators."""
        raise NotImplementedError

    def observe(self) -> Array:
        """Return the observations of all envs, uint8."""
        raise NotImplementedError

    def true_state(self) -> Array:
        """Return the bytes named in ``privileged_names``, [N, P]."""
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """Return Gymnasium's info of a timestep: the true state, uint8 [N, P]."""
        return {"privileged": self.true_state().astype(np.uint8)}

    def save(self) -> dict[str, Any]:
        """Return a snapshot of all envs and their generators, which ``restore`` continues from."""
        arrays = {name: getattr(self, name).copy() for name in self.STATE}
        return arrays | {"generators": [x.bit_generator.state for x in self.generators]}

    def restore(self, snapshot: dict[str, Any]) -> Array:
        """Return to a snapshot of as many envs; return its observations."""
        for name in self.STATE:
            getattr(self, name)[:] = snapshot[name]
        for generator, state in zip(self.generators, snapshot["generators"], strict=True):
            generator.bit_generator.state = state
        return self.observe()
