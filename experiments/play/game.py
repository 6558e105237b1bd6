"""The game that is played: one stream of a world, and its screen as a person knows it."""

from typing import Any

import numpy as np
import torch

from envs.atari import Atari
from envs.interface import EnvConfig, Step
from envs.maze import Maze
from envs.shadow import Shadow
from envs.stream import Stream
from experiments.play.panels import Image
from experiments.play.pictures import picture


class Game:
    """One stream of a world, begun anew at will; ``step`` is what it last said."""

    def __init__(
        self, env: EnvConfig, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.title, self.protocol = env.title, env.protocol_label
        # Never seeded anew on its way: the shadow that draws an Atari screen would not know.
        self.stream = Stream(
            env.build(1, threads=1), seed=seed, purpose="eval", device=device, reseed_after=1 << 62
        )
        self.spec = self.stream.spec
        self.names = env.action_names(self.spec.num_actions)
        self.shadow: Shadow | None = None
        if isinstance(self.stream.env, Atari):
            self.shadow = Shadow(self.stream.env.game, self.stream.env.protocol)
        self.number = -1
        self.step: Step
        self.begin()

    def begin(self) -> None:
        """A new episode, on a seed of its own."""
        self.number += 1
        self.step = self.stream.reset(self.number)
        self.score, self.length = 0.0, 0
        if self.shadow:
            self.shadow.seed(self.stream.emulator_seeds()[0])

    def tick(self, action: int) -> Step:
        """One agent step; on the tick after an episode's end the next one begins."""
        if bool(self.step.last[0]):
            self.score, self.length = 0.0, -1
        self.step = self.stream.step(torch.tensor([action], device=self.stream.device))
        reward = float(self.step.reward[0])
        if self.shadow and self.shadow.step(action) != reward:
            raise RuntimeError("The shadow of the game has left it: their rewards differ.")
        self.score, self.length = self.score + reward, self.length + 1
        return self.step

    def screen(self) -> Image:
        """What a person sees: the emulator's colours, a maze as a whole, or the newest frame."""
        if self.shadow:
            return self.shadow.screen
        if isinstance(self.stream.env, Maze):
            shown: Any = self.stream.env.render(scale=8)[0]
            return np.asarray(shown, np.uint8)
        return picture(self.step.frame[0])

    def close(self) -> None:
        self.stream.close()
