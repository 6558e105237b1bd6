"""The video of predictions: every frame from the start of each rollout, of any size."""

from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from reverie.agents.policies import RandomPolicy
from reverie.envs.gym import GymConfig
from reverie.experiments.datasets.collect import collect
from reverie.experiments.training.prediction_video import GAP, LINE, write_prediction_video

from play_fixtures import StaticPredictor

EPISODE = 16


class Brightening(gymnasium.Env[Any, Any]):
    """Episodes of 16 steps; every pixel is the timestep times 10."""

    action_space = Discrete(2)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.observation_space = Box(0, 255, shape, np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: int) -> Any:
        self.time += 1
        return self._observe(), 0.0, self.time == EPISODE, False, {}

    def _observe(self) -> Any:
        return np.full(self.observation_space.shape or (), 10 * self.time, np.uint8)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (9, 7, 3), (1, 1)], ids=str)
def test_a_rollout_begins_with_the_frame_that_it_starts_from(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    name = f"Brightening{'x'.join(map(str, shape))}-v0"
    gymnasium.register(name, entry_point=lambda **_: Brightening(shape))
    recording = collect(RandomPolicy(2), GymConfig(name), tmp_path / "data", frames=80, num_envs=2)
    starts = recording.start_indices("train", length=EPISODE)
    model = StaticPredictor(recording.obs_shape(1))
    path = tmp_path / "video.mp4"
    median = recording.frames(starts[:1])[0]
    write_prediction_video("still", model, recording, starts[:1], 1, median, path, num_rollouts=1)
    frames = imageio.imread(path, plugin="pyav")
    assert len(frames) == EPISODE + 1
    top, left = LINE, (frames.shape[2] // 3 - GAP) // 2
    truth = frames[:, top + 1, left].mean(-1)
    assert np.allclose(truth, 10 * np.arange(EPISODE + 1), atol=12)
