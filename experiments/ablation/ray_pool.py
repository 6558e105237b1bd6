"""Executor of tasks on many machines: a Ray cluster whose nodes share the folder of the runs."""

import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ...envs.errors import UsageError
from ..config.arguments import import_modules
from ..sessions.executor import TaskResult, seconds_of
from .grid_tasks import AnyTask


class RayPool:
    """A Ray cluster with one remote call for each task.

    A task whose node dies continues from the last checkpoint of its run. Every node needs the same
    checkout, and the folder of the runs and the modules of --import under the same path.
    """

    def __init__(self, address: str, threads: int = 1, retries: int = 2) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError(
                "--ray needs the package ray; install it by `pip install ray`."
            ) from error
        self.ray: Any = ray
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UsageError(
                    f"There is no Ray cluster at '{address}'; start one by `ray start --head`."
                ) from error
        self.remote = ray.remote(num_cpus=threads, max_retries=retries)(_execute)
        self.running: dict[Any, AnyTask] = {}  # by the reference of the remote call

    def execute(self, tasks: Sequence[AnyTask]) -> Iterator[TaskResult[AnyTask]]:
        self.running = {
            self.remote.remote(pickle.dumps(task), task.options.imports, os.getcwd()): task
            for task in tasks
        }
        while self.running:
            (reference,), _ = self.ray.wait(list(self.running), num_returns=1)
            task = self.running.pop(reference)
            try:
                yield TaskResult(task, self.ray.get(reference))
            except self.ray.exceptions.RayTaskError as error:
                yield TaskResult(task, 0.0, str(error.cause))
            except self.ray.exceptions.RayError as error:
                yield TaskResult(task, 0.0, f"its worker died: {type(error).__name__}")

    def stop(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=60)
        self.running.clear()


def _execute(pickled_task: bytes, imports: tuple[str, ...], working_folder: str) -> float:
    """Execute a task, whose parts may be of modules in the driver's working folder."""
    sys.path.append(working_folder)
    import_modules(imports)
    return seconds_of(pickle.loads(pickled_task))
