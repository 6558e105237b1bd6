"""Base classes of environments in one process: spaces, seeds, masked resets and snapshots."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from .layout import Layout

Array = NDArray[Any]


class ImageEnv(VectorEnv[Array, Array, Array]):
    """Vector environment of uint8 images in one process: its spaces, and masked, seeded resets.

    Subclasses implement ``seed_env``, ``reset_envs``, ``observe``, ``info`` and ``step`` (with
    NEXT_STEP autoreset).
    """

    def __init__(
        self,
        num_envs: int,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        privileged_names: tuple[str, ...],
        layout: Layout,
    ) -> None:
        self.privileged_names = privileged_names
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.layout = layout
        self.single_observation_space = Box(0, 255, obs_shape, np.uint8)
        self.single_action_space = Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

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
        for i in np.flatnonzero(mask).tolist():
            if seed is not None and (own := seed[i]) is not None:
                self.seed_env(i, own)
        self.reset_envs(mask)
        return self.observe(), self.info()

    def seed_env(self, i: int, seed: int) -> None:
        """Make an env's next episodes a function of a seed and of the actions."""
        raise NotImplementedError

    def reset_envs(self, mask: Array) -> None:
        """Start new episodes in the masked envs."""
        raise NotImplementedError

    def observe(self) -> Array:
        """Return the observations of all envs, uint8."""
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """Return Gymnasium's info of a timestep, with the true state if it is offered."""
        raise NotImplementedError


class SmallEnv(ImageEnv):
    """Vector environment in numpy that can be saved and restored, one generator per copy.

    Subclasses implement ``reset_envs``, ``observe``, ``true_state`` and ``step``, and name the
    arrays of their state in ``STATE``.
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
        layout = Layout(axes, trusted=True)
        super().__init__(num_envs, obs_shape, num_actions, privileged_names, layout)
        self.generators = [np.random.default_rng() for _ in range(num_envs)]

    def seed_env(self, i: int, seed: int) -> None:
        self.generators[i] = np.random.default_rng(seed)

    def true_state(self) -> Array:
        """Return the bytes named in ``privileged_names``, [N, P]."""
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {"privileged": self.true_state().astype(np.uint8, copy=False)}

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
