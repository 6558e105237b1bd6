"""Standard output that may be closed, no longer read, or unable to show a character."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper


def prepare_output() -> None:
    """Replace characters that the locale cannot encode, and closed files by ones without effect.

    A file that is opened later would have the number of a closed one, and get what C prints.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # has this number, the lowest that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, TextIOWrapper):
            file.reconfigure(errors="replace")


def discard_output() -> None:
    """Discard what is written from now on, as Python would fail on it when it exits."""
    with suppress(OSError):  # another kind of file, as in a test
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)
