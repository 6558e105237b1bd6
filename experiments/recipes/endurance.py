"""Endurance of training: a run killed repeatedly ends as one that was not; memory does not grow.

The runs are trained in processes of their own.
"""

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ...envs.errors import RunError
from ..config.experiment import Experiment
from ..reporting.committed import kept_provenance
from ..runs.run import Run
from ..sessions.options import TrainOptions
from ..sessions.throughput import without_machine_metrics
from ..training.train import train
from .recipe import Recipe, kept

SETTLE_MINUTES = 5.0
"""Minutes after which memory must not grow."""
OPTIONS = TrainOptions(device="cpu", threads=1, random_play_seconds=0, quiet=True)


@dataclass(frozen=True)
class KillStorm(Recipe):
    """Kill a run at random moments, also while it writes checkpoints, and continue it."""

    experiment: Experiment
    kills: int = 30
    seed: int = 0

    kind: ClassVar[str] = "kill-storm"

    @property
    def cost(self) -> str:
        return f"{self.kills} kills of a short run"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the agent steps at which the run was killed.

        Raises RunError if a continuation fails, or if the run does not end as the same run without
        kills.
        """
        rng = random.Random(self.seed)
        uninterrupted = Run(folder / self.kind / "straight")
        killed = Run(folder / self.kind / "killed")
        options = replace(OPTIONS, log_every=500, checkpoint_minutes=60)
        often = replace(options, checkpoint_minutes=0.002)
        finish_training(start_training(self.experiment, uninterrupted, options), uninterrupted)
        steps: list[int] = []
        while len(steps) < self.kills:
            before = killed.checkpoints.steps()
            process = start_training(self.experiment, killed, often)
            while process.is_alive() and killed.checkpoints.steps() == before:
                time.sleep(0.005)
            time.sleep(rng.random())
            if not process.is_alive():
                finish_training(process, killed)
                break
            process.kill()
            process.join()
            steps.append(max(killed.checkpoints.steps(), default=0))
        finish_training(start_training(self.experiment, killed, options), killed)
        if not same_end(uninterrupted, killed):
            raise RunError(f"{killed.folder} does not end as {uninterrupted.folder} does.")
        yield {"kills": len(steps), "at_steps": steps, "provenance": kept_provenance(killed)}


@dataclass(frozen=True)
class Soak(Recipe):
    """Train experiments one by one, and summarize the memory, open files and speed they logged."""

    experiments: Mapping[str, Experiment]
    minutes: float = 15.0

    kind: ClassVar[str] = "soak"

    @property
    def cost(self) -> str:
        return f"{len(self.experiments)} x {self.minutes:g} minutes"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the summary of each experiment; finished measurements are kept."""
        summaries = {}
        for name, experiment in self.experiments.items():
            run, path = Run(folder / self.kind / name), folder / self.kind / f"{name}.json"
            settings, measure = (experiment, self.minutes), partial(self._summary, experiment, run)
            summaries[name] = kept(path, settings, measure)
        yield {"runs": summaries, "provenance": kept_provenance(run)}

    def _summary(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        options = replace(OPTIONS, log_every=2000, checkpoint_minutes=2, max_minutes=self.minutes)
        shutil.rmtree(run.folder, ignore_errors=True)  # an interrupted measurement
        finish_training(start_training(experiment, run, options), run)
        from_minute = min(SETTLE_MINUTES, self.minutes / 3)
        return summarize_metrics(run.read_lines("metrics.jsonl"), from_minute)


def summarize_metrics(rows: list[dict[str, Any]], from_minute: float) -> dict[str, Any]:
    """Summarize the memory, open files and speed of a run's rows of metrics from a minute on.

    The growth of memory is fitted by least squares.
    """
    names = ("seconds", "resident_mb", "open_files")
    columns = [[row["step"], *(row[f"system/{name}"] for name in names)] for row in rows]
    steps, seconds, megabytes, files = np.array(columns, float).T
    settled = seconds >= 60 * from_minute
    steps, seconds, megabytes, files = (x[settled] for x in (steps, seconds, megabytes, files))
    ends = [0, len(steps) // 2, -1]
    rates = np.diff(steps[ends]) / np.diff(seconds[ends])
    return {
        "minutes": round(seconds[-1] / 60, 2),
        "from_minute": from_minute,
        "megabytes": megabytes.round(1).tolist(),
        "megabytes_per_minute": round(60 * np.polyfit(seconds, megabytes, 1)[0], 3),
        "open_files": [int(files.min()), int(files.max())],
        "steps_per_second": rates.round(1).tolist(),
        "slowdown": round(1 - rates[1] / rates[0], 4),
    }


def start_training(experiment: Experiment, run: Run, options: TrainOptions) -> BaseProcess:
    """Start the training of a run in a process of its own."""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when the process imports torch
    process = multiprocessing.get_context("spawn").Process(
        target=train, args=(experiment, run.folder, options), daemon=True
    )
    process.start()
    return process


def finish_training(process: BaseProcess, run: Run) -> None:
    """Wait for the end of a run's process; raises RunError if it failed."""
    process.join()
    if process.exitcode:
        raise RunError(f"The run in {run.folder} failed with status {process.exitcode}.")


def same_end(a: Run, b: Run) -> bool:
    """Return whether two runs have equal final states and logs.

    States of random generators and metrics that depend on the machine are not compared.
    """
    ends = []
    for run in (a, b):
        state = {**(run.checkpoints.load() or {}), "random_state": None}
        rows = [*run.read_lines("metrics.jsonl"), *run.read_lines("episodes.jsonl")]
        ends.append((state, [without_machine_metrics(row) for row in rows]))
    return _equal(*ends)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
