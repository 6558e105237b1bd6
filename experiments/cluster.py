"""Tasks on many machines: tasks of a Ray cluster whose nodes share the folder of the runs."""

from collections.abc import Iterator
from typing import Any

from envs.errors import UsageError
from experiments.tasks import Outcome, Task, carry_out


class Cluster:
    """A Ray cluster, one run a task; a task whose node dies goes on from its run's checkpoint.

    Every node needs the same checkout and sees the folder of the runs under the same path.
    """

    def __init__(self, address: str, threads: int = 1, retries: int = 2) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError(
                "--ray needs the package ray; `pip install -e .[ray]` brings it."
            ) from error
        self.ray: Any = ray
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UsageError(
                    f"There is no Ray cluster at '{address}'; `ray start --head` starts one."
                ) from error
        self.task = ray.remote(num_cpus=threads, max_retries=retries)(carry_out)
        self.running: dict[Any, Task] = {}

    def outcomes(self, tasks: list[Task]) -> Iterator[Outcome]:
        self.running = {self.task.remote(task): task for task in tasks}
        while self.running:
            (ref,), _ = self.ray.wait(list(self.running), num_returns=1)
            task = self.running.pop(ref)
            try:
                yield Outcome(task, self.ray.get(ref))
            except self.ray.exceptions.RayTaskError as error:
                yield Outcome(task, 0.0, str(error.cause))
            except self.ray.exceptions.RayError as error:
                yield Outcome(task, 0.0, f"its worker died: {type(error).__name__}")

    def stop(self) -> None:
        for ref in self.running:
            self.ray.cancel(ref)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=60)
        self.running.clear()
