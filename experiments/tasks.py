"""A run from its words to its scores, as a task that any process can carry out or go on with."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from envs.errors import FolderBusy, RunError
from experiments.evaluation import evaluate_run, scores_file
from experiments.parse import parse_experiment
from experiments.run import Run
from experiments.training import train


@dataclass(frozen=True)
class Task:
    """One run of a grid."""

    words: tuple[str, ...]
    """What follows ``reverie train``."""
    folder: Path
    """Absolute, and the same to every process that may carry it out."""
    episodes: int = 30
    """Of the final evaluation."""
    protocols: tuple[str, ...] = ()
    """Protocols to evaluate under beside the run's own."""
    explore: bool = False
    """Whether it is evaluated as it is trained, exploring."""
    threads: int = 1

    @property
    def trained_steps(self) -> int:
        """Agent steps of its newest checkpoint."""
        return max(Run(self.folder).checkpoints.steps(), default=0)

    @property
    def done(self) -> bool:
        """Whether its final checkpoint has been evaluated as this task asks."""
        for protocol in ("", *self.protocols):
            try:
                path = self.folder / scores_file(protocol, self.explore)
                scores = json.loads(path.read_text())
            except (OSError, ValueError):
                return False
            if scores.get("steps") != self.trained_steps or scores["episodes"] != self.episodes:
                return False
        return True


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    task: Task
    seconds: float
    """The run's own time: training and evaluation, without starting a process."""
    error: str = ""
    """Why it failed; empty where it did not."""
    overhead: float = 0.0
    """Seconds beyond its own for which a place in the pool was taken."""
    deaths: int = 0
    """Processes that died under it."""


@runtime_checkable
class Workers(Protocol):
    """Processes, here or elsewhere, that carry out tasks."""

    def outcomes(self, tasks: list[Task]) -> Iterator[Outcome]:
        """Carry out the tasks and yield each as it ends; one whose process dies is begun again."""

    def stop(self) -> None:
        """End what is under way, with a checkpoint of each run."""


def carry_out(task: Task, patience: float = 60.0) -> float:
    """Train the task's run from where it stands, evaluate it, and return the seconds it took.

    Waits for a folder that a process which is about to end still holds. Raises RunError where it
    was interrupted.
    """
    begin = time.monotonic()
    _, (experiment,), options = parse_experiment([*task.words])
    options = replace(options, threads=task.threads, bare_seconds=0.0)
    while True:
        try:
            run = train(experiment, task.folder, options)
            break
        except FolderBusy:
            if time.monotonic() - begin > patience:
                raise
            time.sleep(0.2)
    if not run.finished:
        raise RunError("It was interrupted; the same command continues.")
    for protocol in ("", *task.protocols):
        scores = evaluate_run(
            task.folder,
            protocol=protocol,
            episodes=task.episodes,
            device=options.device,
            threads=task.threads,
            explore=task.explore,
        )
        if not math.isfinite(scores.mean):
            raise RunError(f"Its mean score is {scores.mean}.")
    return time.monotonic() - begin
