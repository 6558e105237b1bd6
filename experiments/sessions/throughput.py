"""Throughput and memory use of a run."""

import time
from pathlib import Path

import torch

from ...envs.interface import Metrics
from .callbacks import Callback

MACHINE_DEPENDENT = (
    *("charts/SPS", "charts/mean_SPS"),
    *("charts/updates_per_second", "charts/mean_updates_per_second"),
    "system/",
)
"""Prefixes of the metrics that differ between two otherwise identical runs."""


class Throughput(Callback):
    """Agent steps (or updates) per second since the last row and since the start, and memory in MB.

    ``name`` is that of the metric, and ``size`` the steps of one timestep. With ``random_sps``, the
    throughput of random play in the same envs, the row has the ratio to it.
    """

    def __init__(self, name: str, *, size: int = 1, random_sps: float | None = None) -> None:
        self.metric, self.size, self.random_sps = name, size, random_sps
        self.start_time = self.last_time = time.perf_counter()
        self.total_steps = self.steps = 0

    def on_start(self, step: int) -> None:
        self.start_time = self.last_time = time.perf_counter()

    def on_metrics(self, metrics: Metrics) -> None:
        self.steps += self.size

    def metrics(self) -> Metrics:
        now = time.perf_counter()
        rate = self.steps / (now - self.last_time)
        self.last_time, self.total_steps, self.steps = now, self.total_steps + self.steps, 0
        row: Metrics = {
            f"charts/{self.metric}": rate,
            f"charts/mean_{self.metric}": self.total_steps / (now - self.start_time),
            "system/seconds": now - self.start_time,
        }
        if self.random_sps:
            row[f"charts/{self.metric}_ratio_to_random"] = rate / self.random_sps
        if (statm := Path("/proc/self/statm")).exists():
            row["system/resident_mb"] = (
                int(statm.read_text(encoding="ascii").split()[1]) * 4096 / 1e6
            )
            row["system/open_files"] = len(list(Path("/proc/self/fd").iterdir()))
        if torch.cuda.is_available():
            row["system/device_mb"] = torch.cuda.memory_allocated() / 1e6
        return row


def without_machine_metrics(row: dict[str, float]) -> dict[str, float]:
    """Return a row of metrics without those that depend on the machine's speed and memory."""
    return {name: x for name, x in row.items() if not name.startswith(MACHINE_DEPENDENT)}
