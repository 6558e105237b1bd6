"""Consumers of the loop's iterator: each reads transitions and never enters the loop."""

import io
import json
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.atari import Atari
from envs.errors import NumericalError
from envs.interface import Metrics, Transition
from envs.maze import Maze
from envs.shadow import Shadow
from envs.stream import Stream

Image = NDArray[np.uint8]


class Episodes:
    """Scores of finished episodes: raw points, whatever an agent learns from."""

    def __init__(self, num_envs: int) -> None:
        self.score = torch.zeros(num_envs, dtype=torch.float64)
        self.length = torch.zeros(num_envs, dtype=torch.int64)
        self.count = 0
        self.recent: deque[float] = deque(maxlen=100)
        self.finished: list[dict[str, Any]] = []

    def update(self, t: Transition, step: int = 0) -> None:
        """Add one tick, which ends at agent step ``step``."""
        self.score += t.next_step.reward.cpu()
        self.length += t.valid.cpu()
        for stream in t.next_step.last.nonzero()[:, 0].tolist():
            score, length = float(self.score[stream]), int(self.length[stream])
            self.finished.append({"step": step, "stream": stream, "score": score, "length": length})
            self.recent.append(score)
            self.count += 1
            self.score[stream] = self.length[stream] = 0

    def begin_anew(self) -> None:
        """Forget the unfinished episodes."""
        self.score.zero_()
        self.length.zero_()

    def pop(self) -> list[dict[str, Any]]:
        """The episodes finished since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def metrics(self) -> Metrics:
        """Count so far, and the mean score of the last 100."""
        mean = float(np.mean(self.recent)) if self.recent else float("nan")
        return {"episodes": float(self.count), "score/mean_100": mean}

    def state_dict(self) -> dict[str, Any]:
        return {
            "score": self.score,
            "length": self.length,
            "count": self.count,
            "recent": list(self.recent),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.length = state["score"].clone(), state["length"].clone()
        self.count = state["count"]
        self.recent = deque(map(float, state["recent"]), maxlen=100)


class Means:
    """Means of a learner's metrics between two log rows, kept on the device until then."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def update(self, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def check(self) -> None:
        """Raise NumericalError, which names it, where a metric is not finite."""
        for name, value in self.sums.items():
            if not math.isfinite(value):
                raise NumericalError(f"{name} came out as {float(value)}.")

    def pop(self) -> dict[str, float]:
        means = {name: float(self.sums[name]) / self.counts[name] for name in sorted(self.sums)}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums = dict(state["sums"])
        self.counts = {name: int(state["counts"][name]) for name in self.sums}
        self.check()


class Throughput:
    """Agent steps a second since the last row, and their ratio to the bare stream's."""

    def __init__(self, num_envs: int, bare: float | None) -> None:
        self.num_envs, self.bare = num_envs, bare
        self.begin = self.since = time.perf_counter()
        self.all_steps = self.steps = 0

    def update(self) -> None:
        self.steps += self.num_envs

    def pop(self) -> dict[str, float]:
        now = time.perf_counter()
        rate = self.steps / (now - self.since)
        self.since, self.all_steps, self.steps = now, self.all_steps + self.steps, 0
        row = {"time/steps_per_second": rate, "time/seconds": now - self.begin}
        row["time/mean_steps_per_second"] = self.all_steps / (now - self.begin)
        if self.bare:
            row["time/ratio_to_bare_stream"] = rate / self.bare
        return row | memory_use()


def memory_use() -> dict[str, float]:
    """Resident and device memory, in MB of a million bytes."""
    row = {}
    statm = Path("/proc/self/statm")
    if statm.exists():
        row["time/resident_mb"] = int(statm.read_text().split()[1]) * 4096 / 1e6
    if torch.cuda.is_available():
        row["time/device_mb"] = torch.cuda.memory_allocated() / 1e6
    return row


class Log:
    """Rows of numbers into metrics.jsonl and TensorBoard, finished episodes into episodes.jsonl."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # slow to import

        self.metrics = open(folder / "metrics.jsonl", "a")  # noqa: SIM115  # closed by close()
        self.episodes = open(folder / "episodes.jsonl", "a")  # noqa: SIM115
        self.board: Any = SummaryWriter(str(folder), purge_step=step or None)

    def row(self, step: int, frames: int, numbers: dict[str, float]) -> None:
        known = {name: x for name, x in numbers.items() if x == x}
        self.metrics.write(json.dumps({"step": step, "frames": frames} | known) + "\n")
        for name, x in known.items():
            self.board.add_scalar(name, x, step)

    def histogram(self, name: str, step: int, counts: NDArray[np.float64]) -> None:
        """How often each of 0, 1, 2, ... was seen, into TensorBoard; nothing where nothing was."""
        seen = np.flatnonzero(counts)
        if not len(seen):
            return
        counts = counts[: seen[-1] + 1]
        values = np.arange(len(counts))
        self.board.add_histogram_raw(
            name, seen[0], seen[-1], counts.sum(), counts @ values, counts @ values**2,
            (values + 0.5).tolist(), counts.tolist(), step,
        )  # fmt: skip

    def flush(self, episodes: list[dict[str, Any]]) -> None:
        """Write the finished episodes, and everything so far to disk."""
        self.episodes.writelines(json.dumps(episode) + "\n" for episode in episodes)
        for sink in (self.metrics, self.episodes, self.board):
            sink.flush()

    def close(self) -> None:
        """Close every file, whatever comes of closing another."""
        with ExitStack() as sinks:
            sinks.callback(self.metrics.close)
            sinks.callback(self.episodes.close)
            # A board that closes itself does not wait for a thread that has failed.
            sinks.callback(self.board.file_writer.close)


class Video:
    """The next whole episode of stream 0 as an MP4; ``done`` once it is written.

    It is encoded as it is played, in memory, so that whole films alone come to the disk.
    """

    def __init__(
        self, path: Path, render: Callable[[Transition], Image], frames_per_second: int = 15
    ) -> None:
        self.path, self.render, self.frames_per_second = path, render, frames_per_second
        self.film = io.BytesIO()
        self.encoder: Any = None
        self.done = False

    def update(self, t: Transition) -> None:
        if self.done or not (self.encoder or bool(t.step.first[0])):
            return
        self.encoder = self.encoder or self._begin()
        self.encoder.write_frame(self.render(t))
        if bool(t.next_step.last[0]):
            self._finish()

    def _begin(self) -> Any:
        import imageio.v3 as imageio  # slow to import

        encoder = imageio.imopen(self.film, "w", plugin="pyav", extension=".mp4")
        encoder.init_video_stream("libx264", fps=self.frames_per_second)
        return encoder

    def _finish(self) -> None:
        """Put the film in its place at once."""
        self.encoder.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        try:
            temporary.write_bytes(self.film.getvalue())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.film, self.encoder, self.done = io.BytesIO(), None, True


def newest_frame(t: Transition) -> Image:
    """Stream 0's newest frame in the agent's own format, enlarged so that a person can see it."""
    frame = t.next_step.frame[0].numpy().transpose(1, 2, 0)
    scale = max(1, 336 // max(frame.shape[:2])) // 2 * 2 or 1
    frame = frame.repeat(scale, 0).repeat(scale, 1)
    frame = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]  # H.264 wants even sizes
    return np.ascontiguousarray(frame if frame.shape[2] == 3 else frame.repeat(3, 2))


def screen_of(stream: Stream) -> Callable[[Transition], Image]:
    """What shows stream 0 from its beginning: the emulator's own colours, or a maze as a whole."""
    maze = stream.env
    if isinstance(maze, Maze):
        return lambda t: maze.render(scale=336 // maze.walls.shape[1] // 2 * 2 or 2)[0]
    if not isinstance(stream.env, Atari):
        return newest_frame
    shadow = Shadow(stream.env.game, stream.env.protocol)
    shadow.seed(stream.emulator_seeds()[0])

    def screen(t: Transition) -> Image:
        reward = shadow.step(int(t.action[0]))
        if reward != float(t.next_step.reward[0]):
            raise RuntimeError("The shadow of stream 0 has left it: their rewards differ.")
        return shadow.screen.repeat(2, 0).repeat(4, 1)  # the console's pixels are twice as wide

    return screen
