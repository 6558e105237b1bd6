"""Metrics of training: means between two log rows, and the files that they are logged to."""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...envs.errors import NumericalError
from ...envs.interface import Metrics


class Means:
    """Means of a learner's metrics between two log rows; sums stay on the device until ``pop``."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def update(self, metrics: Metrics) -> None:
        """Add one value of each metric."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def check(self) -> None:
        """Raise NumericalError, which names the metric, if a sum is not finite."""
        for name, value in self.sums.items():
            if not math.isfinite(value):
                raise NumericalError(f"The metric {name} is {float(value)}.")

    def pop(self) -> dict[str, float]:
        """Return the means since the last call, by name."""
        means = {name: float(self.sums[name]) / self.counts[name] for name in sorted(self.sums)}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums = dict(state["sums"])
        self.counts = {name: int(state["counts"][name]) for name in self.sums}
        self.check()


class Log:
    """Writer of metrics.jsonl, episodes.jsonl and TensorBoard events in a run folder."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # slow to import

        self.metrics = open(folder / "metrics.jsonl", "a")  # noqa: SIM115  # closed by close()
        self.episodes = open(folder / "episodes.jsonl", "a")  # noqa: SIM115
        self.tensorboard: Any = SummaryWriter(str(folder), purge_step=step or None)

    def row(self, step: int, frames: int, metrics: dict[str, float]) -> None:
        """Write the metrics at an agent step (or update) and number of frames, without nan."""
        known = {name: x for name, x in metrics.items() if x == x}
        self.metrics.write(json.dumps({"step": step, "frames": frames} | known) + "\n")
        for name, x in known.items():
            self.tensorboard.add_scalar(name, x, step)

    def histogram(self, name: str, step: int, counts: NDArray[np.float64]) -> None:
        """Write the counts of the values 0, 1, 2, ... to TensorBoard, unless all are zero."""
        nonzero = np.flatnonzero(counts)
        if not len(nonzero):
            return
        counts = counts[: nonzero[-1] + 1]
        values = np.arange(len(counts))
        self.tensorboard.add_histogram_raw(
            name, nonzero[0], nonzero[-1], counts.sum(), counts @ values, counts @ values**2,
            (values + 0.5).tolist(), counts.tolist(), step,
        )  # fmt: skip

    def flush(self, episodes: list[dict[str, Any]]) -> None:
        """Write the finished episodes, and flush every file."""
        self.episodes.writelines(json.dumps(episode) + "\n" for episode in episodes)
        for file in (self.metrics, self.episodes, self.tensorboard):
            file.flush()

    def close(self) -> None:
        """Close every file, even if closing another one fails."""
        with ExitStack() as files:
            files.callback(self.metrics.close)
            files.callback(self.episodes.close)
            # SummaryWriter.close would wait for its writer thread, even if that has failed.
            files.callback(self.tensorboard.file_writer.close)
