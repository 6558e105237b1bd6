"""Commands in forked processes, which do not import the package again; one may be killed."""

import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from tempfile import TemporaryFile

from reverie.experiments.cli.main import main

SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """How a command ended; the status is negative if a signal ended it."""

    status: int
    output: str
    errors: str


def preload(command: str) -> Outcome:
    """Run a command, and import here what its process has imported."""
    with TemporaryFile("w+") as names:

        @contextlib.contextmanager
        def around() -> Iterator[None]:
            yield
            names.write("\n".join(sys.modules))
            names.flush()

        outcome = run(command, around)
        names.seek(0)
        for name in names.read().split():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return outcome


def run(
    command: str,
    around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    seconds: float = SECONDS,
) -> Outcome:
    """Run a command of reverie, within a context that the new process enters."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = os.fork()
        if not process:
            os._exit(_in_child(command, around, output.fileno(), errors.fileno()))
        end = time.monotonic() + seconds
        while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.002)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Outcome(os.waitstatus_to_exitcode(ended[1]), *texts)


def _in_child(
    command: str, around: Callable[[], AbstractContextManager[object]], output: int, errors: int
) -> int:
    try:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        with around():
            status = main(command.split())
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as ended:
        status = int(ended.code or 0)
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        status = 1
    return status
