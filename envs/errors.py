"""Errors a user can mend, and those that end a run with a sentence."""


class UsageError(ValueError):
    """Input that cannot be used; its message names the culprit and the remedy in one sentence."""


class RunError(Exception):
    """What ends a run in its middle; its message names the reason and what is kept."""


class NumericalError(RunError, FloatingPointError):
    """A model's numbers are no longer finite; its message names the component."""


class EmulatorSilent(RunError):
    """An emulator has not answered in time."""
