"""Throughput and memory use of training."""

import time
from pathlib import Path

import torch

MACHINE_DEPENDENT = ("charts/SPS", "charts/mean_SPS", "charts/updates_per_second", "system/")
"""Prefixes of the metrics that differ between two otherwise identical runs."""


class Throughput:
    """Agent steps per second since the last row, and their ratio to random play.

    ``random_sps`` is the throughput of random play in the same envs, None if not measured.
    """

    def __init__(self, num_envs: int, random_sps: float | None) -> None:
        self.num_envs, self.random_sps = num_envs, random_sps
        self.start_time = self.last_time = time.perf_counter()
        self.total_steps = self.steps = 0

    def update(self) -> None:
        """Count one timestep of all envs."""
        self.steps += self.num_envs

    def pop(self) -> dict[str, float]:
        """Return the metrics since the last call, and start a new interval."""
        now = time.perf_counter()
        sps = self.steps / (now - self.last_time)
        self.last_time, self.total_steps, self.steps = now, self.total_steps + self.steps, 0
        row = {"charts/SPS": sps, "system/seconds": now - self.start_time}
        row["charts/mean_SPS"] = self.total_steps / (now - self.start_time)
        if self.random_sps:
            row["charts/SPS_ratio_to_random"] = sps / self.random_sps
        return row | memory_metrics()


def memory_metrics() -> dict[str, float]:
    """Return resident and device memory in MB (10^6 bytes)."""
    row = {}
    statm = Path("/proc/self/statm")
    if statm.exists():
        row["system/resident_mb"] = int(statm.read_text().split()[1]) * 4096 / 1e6
    if torch.cuda.is_available():
        row["system/device_mb"] = torch.cuda.memory_allocated() / 1e6
    return row


def without_machine_metrics(row: dict[str, float]) -> dict[str, float]:
    """Return a row of metrics without those that depend on the machine's speed and memory."""
    return {name: x for name, x in row.items() if not name.startswith(MACHINE_DEPENDENT)}
