"""Tasks: runs with their evaluation, which any process can execute or continue."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from ...envs.errors import FolderBusy, RunError, UsageError
from ..evaluation.evaluate import evaluate_run
from ..runs.run import Run
from ..runs.scores import read_scores, scores_file
from ..training.command_line import parse_experiment
from ..training.train import train


@dataclass(frozen=True)
class Task:
    """One run of a grid: its training and its evaluations."""

    argv: tuple[str, ...]
    """Arguments of ``reverie train``."""
    folder: Path
    """Absolute run folder, the same for every process that may execute the task."""
    total_timesteps: int
    """Agent steps of the training."""
    episodes: int = 30
    """Episodes of an evaluation."""
    protocols: tuple[str, ...] = ()
    """Protocols of further evaluations, in addition to the run's own."""
    stochastic: bool = False
    """Whether the agent acts as in training when it is evaluated."""
    video: bool = False
    """Whether an episode of each evaluation is written as a video."""
    threads: int = 1

    @property
    def trained_timesteps(self) -> int:
        """Agent steps of the newest checkpoint."""
        return max(Run(self.folder).checkpoints.steps(), default=0)

    @property
    def done(self) -> bool:
        """Whether the run is trained to its end, and evaluated there under every protocol."""
        trained = self.trained_timesteps
        return trained >= self.total_timesteps and all(
            self._evaluated(protocol) == (trained, self.episodes)
            for protocol in ("", *self.protocols)
        )

    def _evaluated(self, protocol: str) -> tuple[int, int] | None:
        """Return agent steps and number of episodes of an evaluation, or None if there is none."""
        try:
            scores = read_scores(self.folder / scores_file(protocol, self.stochastic))
        except UsageError:
            return None
        return scores["steps"], len(scores["scores"])


@dataclass(frozen=True)
class TaskResult:
    """The result of an executed task; the scores are in its run folder."""

    task: Task
    seconds: float
    """Duration of training and evaluation, without the start of a process."""
    error: str = ""
    """Why the task failed; empty if it succeeded."""
    overhead: float = 0.0
    """Seconds for which the task occupied a process, in addition to ``seconds``."""
    crashes: int = 0
    """Number of processes that died while they executed the task."""


@runtime_checkable
class Executor(Protocol):
    """Processes, on this or other machines, that execute tasks."""

    def execute(self, tasks: list[Task]) -> Iterator[TaskResult]:
        """Execute tasks, yielding each result; a task whose process dies is retried."""

    def stop(self) -> None:
        """Stop the running tasks, each with a checkpoint of its run."""


def run_task(task: Task, lock_timeout: float = 60.0) -> float:
    """Train the run of a task from its last checkpoint, evaluate it, and return the seconds.

    Waits ``lock_timeout`` seconds for a folder that an ending process still holds. Raises RunError
    if the run is interrupted or its mean score is not finite.
    """
    start_time = time.monotonic()
    _, (experiment,), options = parse_experiment([*task.argv])
    options = replace(options, threads=task.threads, random_play_seconds=0.0)
    while True:
        try:
            run = train(experiment, task.folder, options)
            break
        except FolderBusy:
            if time.monotonic() - start_time > lock_timeout:
                raise
            time.sleep(0.2)
    if not run.finished:
        raise RunError("The run was interrupted; the same command continues.")
    for protocol in ("", *task.protocols):
        suffix = protocol and f"-{protocol}"
        scores = evaluate_run(
            task.folder,
            protocol=protocol,
            episodes=task.episodes,
            device=options.device,
            threads=task.threads,
            stochastic=task.stochastic,
            video=task.folder / "videos" / f"evaluation{suffix}.mp4" if task.video else None,
            figure=task.folder / "figures" / f"plan{suffix}.png",
        )
        if not math.isfinite(scores.mean):
            raise RunError(f"The mean score is {scores.mean}.")
    return time.monotonic() - start_time
