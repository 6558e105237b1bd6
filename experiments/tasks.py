"""A run from its words to its scores, as a task that any process can carry out or go on with."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from envs.errors import FolderBusy, RunError, UsageError
from experiments.evaluation import evaluate_run, scores_file
from experiments.parse import parse_experiment
from experiments.records import read_scores
from experiments.run import Run
from experiments.training import train


@dataclass(frozen=True)
class Task:
    """One run of a grid."""

    words: tuple[str, ...]
    """What follows ``reverie train``."""
    folder: Path
    """Absolute, and the same to every process that may carry it out."""
    steps: int
    """Agent steps it is to be trained for."""
    episodes: int = 30
    """Of the final evaluation."""
    protocols: tuple[str, ...] = ()
    """Protocols to evaluate under beside the run's own."""
    explore: bool = False
    """Whether it is evaluated as it is trained, exploring."""
    video: bool = False
    """Whether an episode of its evaluation is filmed."""
    threads: int = 1

    @property
    def trained_steps(self) -> int:
        """Agent steps of its newest checkpoint."""
        return max(Run(self.folder).checkpoints.steps(), default=0)

    @property
    def done(self) -> bool:
        """Whether it is trained to its end, and evaluated there as this task asks."""
        trained = self.trained_steps
        return trained >= self.steps and all(
            self._scored(protocol) == (trained, self.episodes) for protocol in ("", *self.protocols)
        )

    def _scored(self, protocol: str) -> tuple[int, int] | None:
        """Agent steps and episodes of an evaluation; None where it is none."""
        try:
            scores = read_scores(self.folder / scores_file(protocol, self.explore))
        except UsageError:
            return None
        return scores["steps"], len(scores["scores"])


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
        tail = protocol and f"-{protocol}"
        scores = evaluate_run(
            task.folder,
            protocol=protocol,
            episodes=task.episodes,
            device=options.device,
            threads=task.threads,
            explore=task.explore,
            video=task.folder / "videos" / f"evaluation{tail}.mp4" if task.video else None,
            figure=task.folder / "figures" / f"plan{tail}.png",
        )
        if not math.isfinite(scores.mean):
            raise RunError(f"Its mean score is {scores.mean}.")
    return time.monotonic() - begin
