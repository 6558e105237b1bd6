"""Exceptions that are shown to the user as one sentence, without a traceback."""


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
