"""Executor of tasks on this machine: a pool of processes, each with its share of the threads."""

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from ...envs.errors import RunError, UsageError
from .executor import Executable, T, TaskResult, seconds_of

PRELOADED = ["torch.utils.tensorboard.summary", "matplotlib.figure"]
"""Modules that the server imports beside those of the tasks, so that the processes forked from it
start at once."""
LOG = "log.txt"
"""File in the folder of a task that has the output of its processes."""
MAX_TEMPORARY = 107 - len("/pymp-12345678/listener-12345678")
"""Greatest length in bytes of a folder in which multiprocessing can have the socket of the server:
the address of a socket has 107 bytes and a zero (unix(7))."""


@dataclass
class _Worker:
    """A process, and the parent's end of the pipe to it."""

    task: Any
    crashes: int
    start_time: float
    process: Any
    connection: Connection


class LocalPool:
    """Up to ``size`` processes at a time, one for each task.

    The processes are forked from a server that has imported all modules. Each is connected to the
    pool by a pipe: when the pool closes it, or dies, the process checkpoints its run and exits. A
    task is retried ``retries`` times if its process dies.
    """

    def __init__(self, size: int, threads: int = 1, retries: int = 2) -> None:
        self.size, self.retries = size, retries
        self.running: dict[int, _Worker] = {}  # by the sentinel of the process
        os.environ["OMP_NUM_THREADS"] = str(threads)  # the server reads it when it imports torch
        self.context = multiprocessing.get_context("forkserver")
        _shorten_temporary_folder()

    def execute(self, tasks: Sequence[T]) -> Iterator[TaskResult[T]]:
        modules = dict.fromkeys(type(task).__module__ for task in tasks)
        self.context.set_forkserver_preload([*modules, *PRELOADED])
        waiting = deque((task, 0) for task in tasks)
        while waiting or self.running:
            while waiting and len(self.running) < self.size:
                self._start(*waiting.popleft())
            for sentinel in wait(list(self.running)):
                worker = self.running.pop(cast(int, sentinel))
                result = self._result(worker)
                if result is None:
                    waiting.appendleft((worker.task, worker.crashes + 1))
                else:
                    yield result

    def stop(self) -> None:
        for worker in self.running.values():
            worker.connection.close()
        for worker in self.running.values():
            worker.process.join()
        self.running.clear()

    def _start(self, task: Executable, crashes: int) -> None:
        start_time = time.monotonic()
        parent_end, child_end = self.context.Pipe()
        process = self.context.Process(target=_run_in_process, args=(task, child_end))
        process.start()
        child_end.close()
        self.running[process.sentinel] = _Worker(task, crashes, start_time, process, parent_end)

    def _result(self, worker: _Worker) -> TaskResult[Any] | None:
        """Return the result of an exited process; None if it died and the task is retried."""
        worker.process.join()
        status = worker.process.exitcode
        try:
            seconds, error = worker.connection.recv()
        except (EOFError, OSError):
            if worker.crashes < self.retries:
                return None
            cause = f"with status {status}"
            if status < 0:
                cause = f"of signal {-status} ({signal.strsignal(-status)})"
            log = worker.task.folder / LOG
            seconds, error = 0.0, f"its process died, the last time {cause}; see {log}"
        worker.connection.close()
        overhead = time.monotonic() - worker.start_time - seconds
        return TaskResult(worker.task, seconds, error, overhead, worker.crashes)


def _shorten_temporary_folder() -> None:
    """Let multiprocessing have its temporary files in /tmp if a socket's path would be too long."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) > MAX_TEMPORARY:
        tempfile.tempdir = "/tmp"
        try:
            util.get_temp_dir()  # makes a folder, which it returns from then on
        finally:
            tempfile.tempdir = usual


def _run_in_process(task: Executable, connection: Connection) -> None:
    """Execute one task in a process of its own, with its output in the run's log.txt.

    A signal that ends the process, as of an invalid address, writes the stacks of Python there.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    with open(task.folder / LOG, "a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.enable(2)
    threading.Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()
    seconds, message = 0.0, ""
    try:
        seconds = seconds_of(task)
    except (UsageError, RunError) as error:
        message = str(error)
    except KeyboardInterrupt:
        message = "it was interrupted; the same command continues"
    except Exception as error:  # one failed run must not stop the others
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}; see {task.folder / LOG}"
    if message:
        print(f"reverie: {message}", file=sys.stderr, flush=True)
    connection.send((seconds, message))


def _exit_with_parent(connection: Connection) -> None:
    """Interrupt the run, which writes a checkpoint, when the pool closes the pipe or dies."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
