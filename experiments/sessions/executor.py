"""The interface of executors: processes that execute tasks, such as the runs of a grid."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Executable(Protocol):
    """What one process executes; it continues if it is executed again."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def folder(self) -> Path:
        """The folder of its log."""

    def execute(self) -> object:
        """Do the work that is left, and leave the results in files."""


T = TypeVar("T", bound=Executable)


@dataclass(frozen=True)
class TaskResult(Generic[T]):
    """The result of an executed task; what it made is in its folder."""

    task: T
    seconds: float
    """Duration of its execution, without the start of a process."""
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
class Executor(Protocol[T]):
    """Processes, on this or other machines, that execute tasks."""

    def execute(self, tasks: Sequence[T]) -> Iterator[TaskResult[T]]:
        """Execute tasks, yielding each result; a task whose process dies is retried."""

    def stop(self) -> None:
        """Stop the running tasks, each with a checkpoint of its run."""


def seconds_of(task: Executable) -> float:
    """Execute a task in this process, and return its duration in seconds."""
    start_time = time.monotonic()
    task.execute()
    return time.monotonic() - start_time
