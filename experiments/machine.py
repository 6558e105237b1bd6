"""What a run takes of its machine: device, threads, arithmetic, and the signals that stop it."""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from envs.errors import UsageError
from world_models.arithmetic import Arithmetic, Precision, why_not_compiled


def pick_device(name: torch.device | str) -> torch.device:
    """The named device; raises UsageError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"There is no device '{name}'; choose auto, cpu, cuda or cuda:1.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name} was asked for, but torch sees no CUDA device of that number here; "
            "use auto or cpu."
        )
    return device


def pick_threads(threads: int) -> int:
    """Give torch that many CPU threads, or one for each core where it is 0."""
    if threads < 0:
        raise UsageError(f"threads is {threads}; it must be 0 or more.")
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    return threads


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the next update, so that a process's memory is steady.

    By default it maps tensors of more than 128 kB one by one, learns a higher threshold from those
    freed, and gives the heap's end back now and then; resident memory then swings by a tenth,
    which would hide a leak. Other allocators are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most that glibc takes
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's malloc.h"""


def pick_arithmetic(precision: Precision, compile: bool, device: torch.device) -> Arithmetic:
    """What was asked for; where nothing can be compiled it says so, and does without."""
    failure = why_not_compiled(device) if compile else ""
    if failure:
        print(f"--compile is left out, because nothing can be compiled here: {failure}")
    return Arithmetic(precision, compile and not failure)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM fill; a second SIGINT ends the process at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
