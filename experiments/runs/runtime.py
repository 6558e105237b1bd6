"""Resources of a process: device, threads, precision, memory, and the signals that stop a run."""

import ctypes
import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from ...envs.errors import Interrupted, UsageError
from ...envs.ranks import ALONE, Ranks
from ...world_models.precision import Precision, PrecisionName, compile_failure

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""


def pick_device(name: torch.device | str) -> torch.device:
    """Return the named device; "auto" is a GPU if there is one.

    Raises UsageError if the device does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(name)):
        raise UsageError(f"There is no device '{name}'; choose auto, cpu, cuda or cuda:1.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device is {name}, but torch sees no CUDA device of that index on this machine; "
            "use auto or cpu."
        )
    return device


def pick_threads(threads: int, processes: int = 1) -> int:
    """Set torch's number of CPU threads, and return it.

    0 is one per core, of which each of the machine's ``processes`` of a run has its share.
    """
    if threads < 0:
        raise UsageError(f"threads is {threads}; it must be 0 or more.")
    threads = threads or max(1, len(os.sched_getaffinity(0)) // processes)
    torch.set_num_threads(threads)
    return threads


@dataclass(frozen=True)
class Runtime:
    """What a run computes on, and how precisely."""

    device: torch.device
    threads: int
    precision: Precision
    ranks: Ranks = ALONE


def pick_runtime(
    device: str,
    threads: int,
    precision: PrecisionName,
    compile: bool,
    ranks: Ranks = ALONE,
) -> Runtime:
    """Prepare this process for a run: pick the device, set the threads, and keep freed memory.

    Each of several ranks on a machine has a GPU of its own, and its share of the cores. Without
    compilation, and with a notice, if that fails.
    """
    keep_freed_memory()
    picked = pick_device(device)
    if picked.type == "cuda" and not ranks.alone:
        picked = pick_device(f"cuda:{ranks.local_rank}")
        torch.cuda.set_device(picked)
    failure = compile_failure(picked) if compile else ""
    if failure:
        print(f"--compile is ignored, because torch.compile fails on this machine: {failure}")
    used_threads = pick_threads(threads, ranks.local_size)
    return Runtime(picked, used_threads, Precision(precision, compile and not failure), ranks)


def available_memory() -> float:
    """Return the bytes of memory that can be used without swapping; infinity if it is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return float(line.split()[1]) * 1024
    except (OSError, ValueError):
        return math.inf


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next update, so that resident memory is constant.

    By default glibc maps tensors larger than 128 kB one by one, raises that threshold as they are
    freed, and now and then returns the end of the heap. Resident memory then varies by a tenth,
    which would hide a leak. Other allocators are not changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # glibc's maximum
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def interrupts(received: list[int] | None = None, *, urgent: bool = True) -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list, in a new one by default.

    A second SIGINT raises KeyboardInterrupt at once, unless ``urgent`` is false: a launcher may
    repeat what the terminal sent. Under ``nohup``, SIGHUP stays ignored.
    """
    received = [] if received is None else received

    def handle(number: int, frame: FrameType | None) -> None:
        if urgent and received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with _handling(handle):
        yield received


@contextmanager
def raising_interrupted() -> Iterator[None]:
    """Raise Interrupted on SIGINT, SIGTERM and SIGHUP."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling(handle):
        yield


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGINT, SIGTERM and, unless ``nohup`` ignores it, SIGHUP."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    numbers = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.add(signal.SIGHUP)
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
