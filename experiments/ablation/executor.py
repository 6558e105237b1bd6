"""The interface of executors: processes that run the tasks of a grid."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..training.task import SeedsTask, Task

AnyTask = Task | SeedsTask
"""What one process executes."""


@dataclass(frozen=True)
class TaskResult:
    """The result of an executed task; the scores are in its run folder."""

    task: AnyTask
    seconds: float
    """Duration of training and evaluation, without the start of a process."""
    error: str = ""
    """Why the task failed; empty if it succeeded."""
    overhead: float = 0.0
    """Seconds for which the task occupied a process, in addition to ``seconds``."""
    crashes: int = 0
    """Number of processes that died while they executed the task."""

    def __str__(self) -> str:
        crashes = f", after {self.crashes} crashes of its process" if self.crashes else ""
        if self.error:
            return f"{self.task.name} FAILED{crashes}: {self.error}"
        return f"{self.task.name} in {self.seconds:,.0f} s{crashes}"


@runtime_checkable
class Executor(Protocol):
    """Processes, on this or other machines, that execute tasks."""

    def execute(self, tasks: Sequence[AnyTask]) -> Iterator[TaskResult]:
        """Execute tasks, yielding each result; a task whose process dies is retried."""

    def stop(self) -> None:
        """Stop the running tasks, each with a checkpoint of its run."""


def seconds_of(task: AnyTask) -> float:
    """Execute a task in this process, and return its duration in seconds."""
    start_time = time.monotonic()
    task.execute()
    return time.monotonic() - start_time
