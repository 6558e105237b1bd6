"""Errors a user can mend."""


class UsageError(ValueError):
    """Input that cannot be used; its message names the culprit and the remedy in one sentence."""
