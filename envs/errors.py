"""Exceptions that are shown to the user as one sentence, without a traceback."""

import sys
from pathlib import Path


class UsageError(ValueError):
    """Invalid input; the message names the culprit, its value, what is allowed, and the remedy."""


class Interrupted(KeyboardInterrupt):
    """A signal ended a command."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class FolderBusy(UsageError):
    """Another process trains in the folder; the message names it."""


class RunError(Exception):
    """A run ended early; the message names the reason and what was saved."""


class NumericalError(RunError, FloatingPointError):
    """A model's numbers are no longer finite; the message names the component."""


class EnvError(RunError):
    """An environment raised an exception or returned an invalid reward; the message names it."""


class EmulatorTimeout(RunError):
    """An emulator did not return in time."""


class LostRank(RunError):
    """Another process of a run in several has ended, so that this one cannot go on."""


def own_place(error: BaseException) -> str:
    """Return the file and line of the user's own code at which an exception was raised.

    It is in parentheses after a space; empty for an exception without such code.
    """
    from traceback import extract_tb

    others = "<", str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix
    own = [x for x in extract_tb(error.__traceback__) if not x.filename.startswith(others)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
