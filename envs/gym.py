"""Any Gymnasium environment with uint8 images, by its id."""

from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from envs.errors import UsageError
from envs.interface import EnvConfig


@dataclass(frozen=True)
class GymConfig(EnvConfig):
    """A registered Gymnasium environment, one Python object a stream."""

    id: str = ""
    """As given to ``gymnasium.make``; ``package:Name-v0`` imports the package first."""

    def build(self, num_envs: int, *, threads: int = 0) -> VectorEnv[Any, Any, Any]:
        if not self.id:
            raise UsageError("env:gym needs an id, such as --env.id my_package:MyEnv-v0.")
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
    def title(self) -> str:
        return self.id.rpartition(":")[2].replace("/", "-")
