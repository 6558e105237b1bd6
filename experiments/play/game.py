"""The played game: a single env, with the screen that a person sees."""

import torch

from ...envs import prng
from ...envs.batched_env import BatchedEnv
from ...envs.interface import EnvConfig, TimeStep
from ..evaluation.screen import screen_of
from ..evaluation.video import Image


class Game:
    """A single env that can be reset at any time; ``time_step`` is its current TimeStep."""

    def __init__(
        self, env: EnvConfig, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.env_name, self.protocol = env.env_name, env.protocol_label
        self.envs = BatchedEnv(
            env.build(1, threads=1, privileged=True),
            seed=seed,
            purpose=prng.Purpose.EVAL,
            device=device,
        )
        self.spec = self.envs.spec
        self.action_names = env.action_names(self.spec.num_actions)
        self._render = screen_of(self.envs)
        self.score, self.length = 0.0, 0
        self.time_step = self.envs.reset()

    def reset(self) -> None:
        """Begin a new episode with the next seed."""
        self.score, self.length = 0.0, 0
        self.time_step = self.envs.reset(int(self.envs.seed_index[0]) + 1)

    def step(self, action: int) -> TimeStep:
        """Take one agent step; after the last step of an episode this begins the next one."""
        if bool(self.time_step.last[0]):
            self.score, self.length = 0.0, -1
        self.time_step = self.envs.step(torch.tensor([action], device=self.envs.device))
        self.score, self.length = self.score + float(self.time_step.reward[0]), self.length + 1
        return self.time_step

    def screen(self) -> Image:
        """Return the emulator's color screen, the rendered maze, or else the newest frame."""
        return self._render(self.time_step)

    def close(self) -> None:
        self.envs.close()
