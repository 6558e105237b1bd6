"""Videos of whole episodes, encoded while they are played."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.atari.atari import Atari
from ...envs.atari.replica import ReplicaEmulator
from ...envs.batched_env import BatchedEnv
from ...envs.interface import Transition
from ...envs.maze import Maze

Image = NDArray[np.uint8]


class Video:
    """A recorder of the next whole episode of env 0 as an MP4 file; ``done`` once it is written.

    The episode is encoded in memory while it is played, so that only complete files are written.
    """

    def __init__(
        self, path: Path, render: Callable[[Transition], Image], frames_per_second: int = 15
    ) -> None:
        self.path, self.render, self.frames_per_second = path, render, frames_per_second
        self.buffer = io.BytesIO()
        self.encoder: Any = None
        self.done = False

    def update(self, t: Transition) -> None:
        """Add one timestep."""
        if self.done or not (self.encoder or bool(t.step.first[0])):
            return
        self.encoder = self.encoder or self._open_encoder()
        self.encoder.write_frame(self.render(t))
        if bool(t.next_step.last[0]):
            self._finish()

    def _open_encoder(self) -> Any:
        import imageio.v3 as imageio  # slow to import

        encoder = imageio.imopen(self.buffer, "w", plugin="pyav", extension=".mp4")
        encoder.init_video_stream("libx264", fps=self.frames_per_second)
        return encoder

    def _finish(self) -> None:
        """Write the file atomically."""
        self.encoder.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        try:
            temporary.write_bytes(self.buffer.getvalue())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.buffer, self.encoder, self.done = io.BytesIO(), None, True


def newest_frame(t: Transition) -> Image:
    """Return env 0's newest frame in the agent's own format, enlarged to about 336 pixels."""
    frame = t.next_step.frame[0].numpy().transpose(1, 2, 0)
    scale = max(1, 336 // max(frame.shape[:2])) // 2 * 2 or 1
    frame = frame.repeat(scale, 0).repeat(scale, 1)
    frame = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]  # H.264 needs even sizes
    return np.ascontiguousarray(frame if frame.shape[2] == 3 else frame.repeat(3, 2))


def screen_of(envs: BatchedEnv) -> Callable[[Transition], Image]:
    """Return a renderer of env 0 from its reset on.

    It renders the RGB screen of an Atari game, a maze as a whole, and the newest frame of other
    envs. It raises RuntimeError if the emulator's replica diverges from the env.
    """
    maze = envs.env
    if isinstance(maze, Maze):
        return lambda t: maze.render(scale=336 // maze.walls.shape[1] // 2 * 2 or 2)[0]
    if not isinstance(envs.env, Atari):
        return newest_frame
    replica = ReplicaEmulator(envs.env.game, envs.env.protocol)
    replica.seed(envs.emulator_seeds()[0])

    def screen(t: Transition) -> Image:
        reward = replica.step(int(t.action[0]))
        if reward != float(t.next_step.reward[0]):
            raise RuntimeError("The replica of env 0 has diverged from it: their rewards differ.")
        return replica.screen.repeat(2, 0).repeat(4, 1)  # pixels of the console are 2 x as wide

    return screen
