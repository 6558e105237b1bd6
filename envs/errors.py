"""Errors a user can mend, and those that end a run with a sentence."""


class UsageError(ValueError):
    """Input that cannot be used; its message names the culprit and the remedy in one sentence."""


class NumericalError(FloatingPointError):
    """A model's numbers are no longer finite; its message names the component."""
