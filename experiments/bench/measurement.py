"""A measurement of the benchmark, and the process that makes it, which may fail or be stopped."""

import gc
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any

import torch

from .session import BenchSession, Row

Measure = Callable[[BenchSession], Iterator[Row]]


@dataclass(frozen=True)
class Measurement:
    """What yields rows; ``run`` is sent to another process, so it is a function of a module."""

    run: Measure
    seconds: float = 0.0
    """Expected duration; 0 if it is not known, and then there is no limit."""
    fills: bool = False
    """Whether it uses all the time that is left, of which it needs ``seconds`` or more."""

    def limit(self, left: float) -> float:
        """Return the seconds after which it is stopped, if ``left`` are left for all."""
        return left if self.fills or not self.seconds else min(left, 30 + 3 * self.seconds)


class MeasuringProcess:
    """A process that makes one measurement after another; a new one follows a failure.

    A fault of a GPU spoils every later call of its process, and a call that never returns ends only
    with it. The process and all that it starts are one group, which is ended as a whole.
    """

    def __init__(self, device: torch.device) -> None:
        # A GPU that one process has used cannot be used in its forks.
        self._context: Any = get_context("fork" if device.type == "cpu" else "spawn")
        self._process: Any = None
        self._connection: connection.Connection[Any, Any] | None = None

    def rows(
        self, name: str, measurement: Measurement, session: BenchSession, limit: float = math.inf
    ) -> Iterator[Row]:
        """Yield the rows of a measurement; the last has an ``error`` if it failed.

        It fails by an exception, by the end of its process, or after ``limit`` seconds.
        """
        if self._connection is None:
            self._connection = self._start()
        self._connection.send((measurement, session))
        deadline = time.monotonic() + limit
        while True:
            left = None if math.isinf(limit) else max(0.0, deadline - time.monotonic())
            if not self._connection.poll(left):
                error = f"stopped after its limit of {limit:.0f} s"
                break
            try:
                row = self._connection.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                error = f"its process ended with exit code {self._process.exitcode}"
                break
            if row is None:
                return
            if isinstance(row, str):
                error = row
                break
            yield row
        self.close()
        yield {"name": name, "error": error, "shown": f"failed: {error}"}

    def close(self) -> None:
        """End the process, and the processes that it started."""
        if self._connection is not None:
            self._connection.close()
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:  # before it led a group, or after its end
                self._process.kill()
            self._process.join()
        self._connection = None

    def _start(self) -> "connection.Connection[Any, Any]":
        own_end, other_end = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other_end, own_end))
        self._process.start()
        other_end.close()
        return own_end  # type: ignore[no-any-return]


def _serve(
    requests: "connection.Connection[Any, Any]", other_end: "connection.Connection[Any, Any]"
) -> None:
    """Make measurements until one fails or nothing more is asked for."""
    os.setpgrp()
    other_end.close()  # else this process would not see that the other one has ended
    while True:
        try:
            measurement, session = requests.recv()
        except EOFError:
            return
        torch.set_num_threads(session.threads)
        try:
            for row in measurement.run(session):
                requests.send(row)
        except Exception as error:
            traceback.print_exc()
            requests.send(" ".join(f"{type(error).__name__}: {error}".split())[:500])
            return
        requests.send(None)
        if "torch._dynamo" in sys.modules:  # its limit of compilations counts those of all agents
            torch.compiler.reset()
        gc.collect()  # the memory of its models, for the next one
        torch.cuda.empty_cache()
