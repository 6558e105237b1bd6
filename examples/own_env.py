r"""A custom environment: any Gymnasium environment whose observations are uint8 images.

On the command line, in the folder of this file or with that folder in PYTHONPATH::

    reverie train mfec env:gym --import own_env --env.id Corridor-v0 --folder runs/corridor \
        --agent.num-neighbors 1 --agent.gamma 0.9 --total-timesteps 5000 --num-envs 8
    reverie evaluate runs/corridor --import own_env
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from reverie import Experiment, TrainOptions, evaluate, load, train
from reverie.agents.episodic.mfec import MFECConfig
from reverie.envs.gym import GymConfig


class Corridor(gymnasium.Env[NDArray[Any], int]):
    """Nine cells in a row with the exit on the right; episodes are truncated after fifty steps."""

    observation_space = Box(0, 255, (1, 9), np.uint8)
    action_space = Discrete(2)  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.cell, self.time = int(self.np_random.integers(4)), 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.cell, self.time = max(self.cell + 2 * int(action) - 1, 0), self.time + 1
        terminated = self.cell == 8
        return self._observe(), float(terminated), terminated, self.time == 50, {}

    def _observe(self) -> NDArray[Any]:
        obs = np.zeros((1, 9), np.uint8)
        obs[0, self.cell] = 255
        return obs


gymnasium.register("Corridor-v0", entry_point=lambda **options: Corridor(**options))

if __name__ == "__main__":
    env = GymConfig(id="Corridor-v0")
    # Eight states are fewer than the default eleven neighbors; gamma < 1 rewards short episodes.
    agent = MFECConfig(num_neighbors=1, gamma=0.9)
    experiment = Experiment(agent=agent, env=env, total_timesteps=5_000, num_envs=8)
    run = train(experiment, "runs/own-env", TrainOptions(device="cpu", threads=1))
    print(evaluate(load(run.folder, device="cpu")[1], env, episodes=50))
