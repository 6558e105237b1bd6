"""Checks of settings: a sentence that names the setting, its value and what it must be."""

import math
from collections.abc import Callable
from typing import NamedTuple

from envs.errors import UsageError


class Rule(NamedTuple):
    """What a number must be, as a test and in words; nan is nothing that it may be."""

    holds: Callable[[float], bool]
    words: str


def at_least(least: float) -> Rule:
    """Finite, and not below."""
    return Rule(lambda x: least <= x < math.inf, f"{least} or more")


def above(bound: float) -> Rule:
    """Finite, and greater."""
    return Rule(lambda x: bound < x < math.inf, f"above {bound}")


def within(least: float, most: float) -> Rule:
    """In a closed interval."""
    return Rule(lambda x: least <= x <= most, f"in {least}..{most}")


def check(config: object, role: str, rule: Rule, *names: str) -> None:
    """Raise UsageError for the first of these fields that breaks the rule; None is left alone."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not rule.holds(value):
            refuse(config, role, name, rule.words)


def refuse(config: object, role: str, name: str, wanted: str) -> None:
    """Raise UsageError for a field of a role's config."""
    path = f"{role}.{name}" if role else name
    raise UsageError(f"{path} is {getattr(config, name)}; it must be {wanted}.")
