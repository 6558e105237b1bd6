"""Base classes of environments in one process: spaces, seeds, masked resets and snapshots."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, ClassVar, SupportsIndex

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from .dynamics import Dynamics, Outcome
from .layout import Layout

Array = NDArray[Any]


class ImageEnv(VectorEnv[Array, Array, Array]):
    """Vector environment of uint8 images in one process: its spaces, and masked, seeded resets.

    Subclasses implement ``seed_env``, ``reset_envs``, ``observe``, ``info``, ``step`` (with
    NEXT_STEP autoreset), ``snapshots`` and ``restore_snapshots``.
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

    def dynamics(self) -> Dynamics:
        """Return the dynamics of the envs, which steps a copy of them."""
        return EnvDynamics(deepcopy(self))

    def snapshots(self) -> UInt8[Array, "N S"]:
        """Return the state of every env as bytes, without its random generator."""
        raise NotImplementedError

    def restore_snapshots(self, snapshot: UInt8[Array, "B S"], seed: Int64[Array, " B"]) -> None:
        """Continue from these states, one env for each, whose chance is drawn from the seeds."""
        raise NotImplementedError


class EnvDynamics:
    """The dynamics of an environment without stacks of frames, of which ``env`` is a copy."""

    def __init__(self, env: ImageEnv) -> None:
        self._env = env
        self.snapshot_size = env.snapshots().shape[1]

    def step(
        self,
        snapshot: UInt8[Array, "B S"],
        action: Int64[Array, " B"],
        seed: Int64[Array, " B"],
    ) -> Outcome:
        self._env.restore_snapshots(snapshot, seed)
        obs, reward, terminated, truncated, info = self._env.step(action)
        return Outcome(
            snapshot=self._env.snapshots(),
            frame=self._env.layout.images(obs),
            reward=reward,
            discount=1 - terminated.astype(np.float32),
            last=terminated | truncated,
            privileged=info.get("privileged"),
        )


class Generators(dict[SupportsIndex, np.random.Generator]):
    """The random generator of each env, created from its seed when it is first drawn from."""

    def __init__(self, seeds: Sequence[int | None]) -> None:
        super().__init__()
        self.seeds = list(seeds)

    def __missing__(self, i: SupportsIndex) -> np.random.Generator:
        return self.setdefault(i, np.random.default_rng(self.seeds[i]))


class SmallEnv(ImageEnv):
    """Vector environment in numpy, one random generator per copy.

    Subclasses implement ``reset_envs``, ``observe`` and ``step``, name the arrays of their state in
    ``STATE``, and implement ``true_state`` if they name bytes of it.
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
        self.generators = Generators([None] * num_envs)

    def seed_env(self, i: int, seed: int) -> None:
        self.generators[i] = np.random.default_rng(seed)

    def true_state(self) -> Array:
        """Return the bytes named in ``privileged_names``, [N, P]; none by default."""
        return np.zeros((self.num_envs, 0), np.uint8)

    def info(self) -> dict[str, Any]:
        return {"privileged": self.true_state().astype(np.uint8, copy=False)}

    def snapshots(self) -> UInt8[Array, "N S"]:
        arrays = (getattr(self, name).reshape(self.num_envs, -1) for name in self.STATE)
        return np.concatenate([np.ascontiguousarray(x).view(np.uint8) for x in arrays], 1)

    def restore_snapshots(self, snapshot: UInt8[Array, "B S"], seed: Int64[Array, " B"]) -> None:
        self.num_envs, start = len(snapshot), 0
        for name in self.STATE:
            array = getattr(self, name)
            end = start + array.itemsize * math.prod(array.shape[1:])
            values = snapshot[:, start:end].copy().view(array.dtype)
            setattr(self, name, values.reshape(self.num_envs, *array.shape[1:]))
            start = end
        self.generators = Generators(seed.tolist())
