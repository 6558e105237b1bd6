"""An env that is known from a recording alone: its shapes, and nothing that could be played."""

import re
from dataclasses import dataclass
from typing import Any

from .base import Array, ImageEnv
from .checks import at_least, check
from .errors import UsageError
from .interface import EnvConfig
from .layout import Layout


@dataclass(frozen=True)
class RecordedConfig(EnvConfig):
    """An env of which only recorded frames are at hand, as those of other projects.

    Models learn from its recordings; to play it raises UsageError, as does a name that is no part
    of a file's name.
    """

    name: str = "recorded"
    """Name of the env: letters, digits, dots, hyphens and underscores."""
    num_actions: int = 1
    """Number of actions."""
    shape: tuple[int, int, int] = (1, 84, 84)
    """Shape (channels, H, W) of a frame; channels that are no gray and no color are planes."""

    def __post_init__(self) -> None:
        check(self, "env", at_least(1), "num_actions")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UsageError(
                f"env.name is {self.name!r}; it must be letters, digits, dots, hyphens and "
                "underscores."
            )
        if min(self.shape) < 1:
            raise UsageError(f"env.shape is {self.shape}; its numbers must be 1 or more.")

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> "Recorded":
        return Recorded(self, num_envs)

    @property
    def env_name(self) -> str:
        return self.name


class Recorded(ImageEnv):
    """Envs with spaces and without dynamics; ``reset`` and ``step`` raise UsageError."""

    def __init__(self, config: RecordedConfig, num_envs: int) -> None:
        planes = config.shape[0] not in (1, 3)
        layout = Layout("CHW", trusted=True, planes=planes)
        super().__init__(num_envs, config.shape, config.num_actions, (), layout)
        self.name = config.name

    def reset(self, **options: Any) -> tuple[Array, dict[str, Any]]:
        raise UsageError(
            f"The env {self.name} is known from a recording alone and cannot be played; learn from "
            "the recording, or name an env of `reverie list roles`."
        )

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        return self.reset()  # type: ignore[return-value]  # it raises
