"""The envs of several seeds as one BatchedEnv, whose emulators step together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from jaxtyping import UInt8
from torch import Tensor

from . import prng
from .batched_env import EmulatorEnvs
from .interface import EnvSpec
from .pipeline import join_states, split_states


class SeedEnvs(EmulatorEnvs):
    """Envs of several seeds, as many of each; every env is the one that its seed has alone.

    ``env`` holds the copies of all seeds, those of the first seed first.

    Example::

        from reverie.envs.catch import CatchConfig
        from reverie.envs.seed_envs import SeedEnvs

        envs = SeedEnvs(CatchConfig().build(16), seeds=(0, 1))
        step = envs.reset()  # the first eight boards are those of seed 0
        envs.close()
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], *, seeds: Sequence[int], **settings: Any
    ) -> None:
        self.seeds = list(seeds)
        super().__init__(env, **settings)

    @property
    def seed_spec(self) -> EnvSpec:
        """The spec of the envs of one seed."""
        return replace(self.spec, num_envs=self.spec.num_envs // len(self.seeds))

    def emulator_seeds(self) -> list[int]:
        indices = self.seed_index.chunk(len(self.seeds))
        pairs = zip(self.seeds, indices, strict=True)
        return torch.cat(
            [prng.env_seeds(seed, self.purpose, index) for seed, index in pairs]
        ).tolist()

    def state_dicts(self) -> list[dict[str, Any]]:
        """Return the state of the BatchedEnv of each seed."""
        return split_states(self.state_dict(), [self.seed_spec.num_envs] * len(self.seeds))

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> UInt8[Tensor, "N K H W"]:
        """Replay the logged actions of all seeds, and return the resulting observations."""
        return self.load_state_dict(join_states(states))
