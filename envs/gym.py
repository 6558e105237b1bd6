"""Registered Gymnasium environments whose observations are uint8 images."""

import sys
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
    """Id for ``gymnasium.make``; in ``package:Name-v0`` the package must be imported already."""

    def build(
        self, num_envs: int, *, threads: int = 0, privileged: bool = False
    ) -> VectorEnv[Any, Any, Any]:
        if not self.id:
            raise UsageError(
                "env:gym needs an id; name one, such as --env.id MyEnv-v0 --import my_package."
            )
        module = self.id.rpartition(":")[0]
        if module and module not in sys.modules:
            raise UsageError(
                f"env.id is {self.id}, and {module} is not imported; add --import {module}."
            )
        try:
            return gymnasium.make_vec(
                self.id,
                num_envs,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
            )
        except (gymnasium.error.Error, ModuleNotFoundError) as error:
            raise UsageError(
                f"Gymnasium cannot make '{self.id}' ({error}); if a module of yours registers it, "
                "add --import MODULE."
            ) from error

    @property
    def env_name(self) -> str:
        return self.id.rpartition(":")[2].replace("/", "-")
