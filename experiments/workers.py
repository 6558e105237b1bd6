"""Tasks on this machine: a pool of processes, each with its share of the threads."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from envs.errors import RunError, UsageError
from experiments.tasks import Outcome, Task, carry_out

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

PRELOADED = ["experiments.commands", "torch.utils.tensorboard.writer", "matplotlib.figure"]


@dataclass
class _Worker:
    task: Task
    deaths: int
    begun: float
    process: Any
    leash: Connection


class Pool:
    """So many processes at once, each run in one of its own.

    They are forked from a server that has imported everything, so that a run starts in no time.
    Each holds the end of a pipe, its leash: where the pool stops, or dies, the run checkpoints.
    """

    def __init__(self, workers: int, threads: int = 1, retries: int = 2) -> None:
        self.size, self.retries = workers, retries
        self.running: dict[int, _Worker] = {}
        for name in THREAD_VARIABLES:  # the server reads them once, when it imports torch
            os.environ[name] = str(threads)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)

    def outcomes(self, tasks: list[Task]) -> Iterator[Outcome]:
        waiting = deque((task, 0) for task in tasks)
        while waiting or self.running:
            while waiting and len(self.running) < self.size:
                self._start(*waiting.popleft())
            for sentinel in wait(list(self.running)):
                worker = self.running.pop(cast(int, sentinel))
                outcome = self._reap(worker)
                if outcome is None:
                    waiting.appendleft((worker.task, worker.deaths + 1))
                else:
                    yield outcome

    def stop(self) -> None:
        for worker in self.running.values():
            worker.leash.close()
        for worker in self.running.values():
            worker.process.join()
        self.running.clear()

    def _start(self, task: Task, deaths: int) -> None:
        begun = time.monotonic()
        mine, its = self.context.Pipe()
        process = self.context.Process(target=_work, args=(task, its))
        process.start()
        its.close()
        self.running[process.sentinel] = _Worker(task, deaths, begun, process, mine)

    def _reap(self, worker: _Worker) -> Outcome | None:
        """What became of its task; None where the process was killed and may be replaced."""
        worker.process.join()
        status = worker.process.exitcode
        try:
            seconds, error = worker.leash.recv()
        except (EOFError, OSError):
            if worker.deaths < self.retries:
                return None
            seconds, error = 0.0, f"its process died, the last time with status {status}"
        worker.leash.close()
        overhead = time.monotonic() - worker.begun - seconds
        return Outcome(worker.task, seconds, error, overhead, worker.deaths)


def _work(task: Task, leash: Connection) -> None:
    """The whole life of a worker's process: one task, everything it says in the run's log."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with open(task.folder / "log.txt", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    threading.Thread(target=_follow, args=(leash,), daemon=True).start()
    seconds, error = 0.0, ""
    try:
        seconds = carry_out(task)
    except (UsageError, RunError) as said:
        error = str(said)
    except KeyboardInterrupt:
        error = "it was interrupted"
    except SystemExit:
        error = f"see {task.folder / 'log.txt'}"
    except Exception as fault:  # one run's fault is no reason to lose the others
        traceback.print_exc()
        error = f"{type(fault).__name__}: {fault}; see {task.folder / 'log.txt'}"
    if error:
        print(f"reverie: {error}", file=sys.stderr, flush=True)
    leash.send((seconds, error))


def _follow(leash: Connection) -> None:
    """Where the pool is gone, interrupt the run, which checkpoints."""
    try:
        leash.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
