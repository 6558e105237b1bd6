"""Registered Gymnasium environments whose observations are uint8 images."""

from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from .errors import UsageError
from .interface import EnvConfig


@dataclass(frozen=True)
class GymConfig(EnvConfig):
    """Settings of a registered Gymnasium environment; every copy is one Python object."""

    id: str = ""
    """Id for ``gymnasium.make``; ``package:Name-v0`` imports the package first."""

    def build(self, num_envs: int, *, threads: int = 0) -> VectorEnv[Any, Any, Any]:
        if not self.id:
            raise UsageError("env:gym needs an id; name one, such as --env.id my_package:MyEnv-v0.")
        try:
            return gymnasium.make_vec(
                self.id,
                num_envs,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
            )
        except (gymnasium.error.Error, ModuleNotFoundError) as error:
            raise UsageError(f"Gymnasium cannot make '{self.id}': {error}") from error

    @property
    def env_name(self) -> str:
        return self.id.rpartition(":")[2].replace("/", "-")
