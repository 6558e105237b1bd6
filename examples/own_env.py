"""A world of one's own: any Gymnasium environment that shows uint8 images.

On the command line: ``reverie train episodic env:gym --env.id own_env:Corridor-v0``.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from agents.episodic import EpisodicConfig
from envs.gym import GymConfig
from experiments import Experiment, TrainOptions, evaluate, load, train


class Corridor(gymnasium.Env[NDArray[Any], int]):
    """Nine cells in a row; the exit is on the right, and an hour is fifty steps."""

    observation_space = Box(0, 255, (1, 9), np.uint8)
    action_space = Discrete(2)  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.cell, self.time = int(self.np_random.integers(4)), 0
        return self._look(), {}

    def step(self, action: int) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.cell, self.time = max(self.cell + 2 * int(action) - 1, 0), self.time + 1
        out = self.cell == 8
        return self._look(), float(out), out, self.time == 50, {}

    def _look(self) -> NDArray[Any]:
        cells = np.zeros((1, 9), np.uint8)
        cells[0, self.cell] = 255
        return cells


gymnasium.register("Corridor-v0", entry_point=Corridor)

if __name__ == "__main__":
    world = GymConfig(id="Corridor-v0")
    # Eight states cannot fill eleven neighbours, and sooner is better than later.
    agent = EpisodicConfig(neighbours=1, gamma=0.9)
    experiment = Experiment(agent=agent, env=world, steps=5_000, streams=8)
    run = train(experiment, "runs/own-env", TrainOptions(device="cpu", threads=1))
    print(evaluate(load(run.folder, device="cpu")[1], world, episodes=50))
