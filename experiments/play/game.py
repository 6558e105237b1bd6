"""The played game: a single env, with the screen that a person sees."""

from typing import Any

import numpy as np
import torch

from ...envs.atari.atari import Atari
from ...envs.atari.replica import ReplicaEmulator
from ...envs.batched_env import BatchedEnv
from ...envs.interface import EnvConfig, TimeStep
from ...envs.maze import Maze
from .images import frame_to_image
from .panels import Image


class Game:
    """A single env that can be reset at any time; ``time_step`` is its current TimeStep."""

    def __init__(
        self, env: EnvConfig, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.env_name, self.protocol = env.env_name, env.protocol_label
        # Never re-seeded within a run: the replica that renders an Atari screen would diverge.
        self.envs = BatchedEnv(
            env.build(1, threads=1), seed=seed, purpose="eval", device=device, reseed_after=1 << 62
        )
        self.spec = self.envs.spec
        self.action_names = env.action_names(self.spec.num_actions)
        self.replica: ReplicaEmulator | None = None
        if isinstance(self.envs.env, Atari):
            self.replica = ReplicaEmulator(self.envs.env.game, self.envs.env.protocol)
        self.num_resets = -1
        self.time_step: TimeStep
        self.reset()

    def reset(self) -> None:
        """Begin a new episode with the next seed."""
        self.num_resets += 1
        self.time_step = self.envs.reset(self.num_resets)
        self.score, self.length = 0.0, 0
        if self.replica:
            self.replica.seed(self.envs.emulator_seeds()[0])

    def step(self, action: int) -> TimeStep:
        """Take one agent step; after the last step of an episode this begins the next one.

        Raises RuntimeError if the replica's reward differs from the env's.
        """
        if bool(self.time_step.last[0]):
            self.score, self.length = 0.0, -1
        self.time_step = self.envs.step(torch.tensor([action], device=self.envs.device))
        reward = float(self.time_step.reward[0])
        if self.replica:
            replica_reward = self.replica.step(action)
            if replica_reward != reward:
                raise RuntimeError(
                    f"The replica emulator of {self.env_name} diverged: its reward is "
                    f"{replica_reward:g} and the env's is {reward:g}."
                )
        self.score, self.length = self.score + reward, self.length + 1
        return self.time_step

    def screen(self) -> Image:
        """Return the emulator's color screen, the rendered maze, or else the newest frame."""
        if self.replica:
            return self.replica.screen
        if isinstance(self.envs.env, Maze):
            rendered: Any = self.envs.env.render(scale=8)[0]
            return np.asarray(rendered, np.uint8)
        return frame_to_image(self.time_step.frame[0])

    def close(self) -> None:
        self.envs.close()
