"""Execution of tasks in a pool of processes, on this machine or on a Ray cluster."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from ..runs.runtime import raising_interrupted
from ..sessions.executor import Executor, TaskResult
from ..sessions.local_pool import LocalPool
from ..text.terminal_text import counted
from ..training.task import Task
from .grid_tasks import AnyTask, seeds_together, tasks_of


@runtime_checkable
class PoolOptions(Protocol):
    """What the processes of a grid or of a sweep are."""

    @property
    def num_workers(self) -> int:
        """Number of processes at a time on this machine."""

    @property
    def threads(self) -> int:
        """CPU threads of each process."""

    @property
    def retries(self) -> int:
        """Number of times that a run is continued after its process dies."""

    @property
    def ray(self) -> str:
        """Address of a Ray cluster; empty for this machine."""


def make_executor(options: PoolOptions) -> Executor[AnyTask]:
    """Return the processes that execute the tasks."""
    if options.ray:
        from .ray_pool import RayPool

        return RayPool(options.ray, options.threads, options.retries)
    return LocalPool(options.num_workers, options.threads, options.retries)


def execute(
    executor: Executor[AnyTask], tasks: Sequence[Task], count: int
) -> Iterator[TaskResult[AnyTask]]:
    """Execute tasks, up to ``count`` seeds of a cell in a process; print and yield each result."""
    work = seeds_together(tasks, count)
    start_time, results = time.monotonic(), list[TaskResult[AnyTask]]()
    with raising_interrupted():
        try:
            for result in executor.execute(work):
                results.append(result)
                done = sum(len(tasks_of(x.task)) for x in results)
                print(f"[{done}/{len(tasks)}] {result}", flush=True)
                yield result
        finally:
            executor.stop()
    seconds = sum(result.seconds for result in results)
    overhead = sum(result.overhead for result in results)
    elapsed, runs = time.monotonic() - start_time, counted(len(tasks), "run")
    share = f"; scheduling added {overhead / seconds:.1%}" if seconds and overhead else ""
    print(f"{runs} in {elapsed:,.0f} s; training and evaluation took {seconds:,.0f} s{share}.")
