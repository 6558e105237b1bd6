"""Validation of settings, with errors that name the setting, its value and what is allowed."""

import math
from collections.abc import Callable
from typing import NamedTuple

from .errors import UsageError


class Rule(NamedTuple):
    """Range of allowed numbers, with its description; nan is never allowed."""

    holds: Callable[[float], bool]
    allowed: str


def at_least(least: float) -> Rule:
    """Allow finite numbers from ``least`` on."""
    return Rule(lambda x: least <= x < math.inf, f"{least} or more")


def above(bound: float) -> Rule:
    """Allow finite numbers greater than ``bound``."""
    return Rule(lambda x: bound < x < math.inf, f"above {bound}")


def below(bound: float) -> Rule:
    """Allow finite numbers less than ``bound``."""
    return Rule(lambda x: -math.inf < x < bound, f"below {bound}")


FINITE = Rule(math.isfinite, "a finite number")
"""Allow numbers that are neither nan nor infinite."""


def within(least: float, most: float) -> Rule:
    """Allow numbers of a closed interval."""
    return Rule(lambda x: least <= x <= most, f"in {least}..{most}")


def check(config: object, role: str, rule: Rule, *names: str) -> None:
    """Raise UsageError for the first named field that violates the rule; None is always allowed."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not rule.holds(value):
            refuse(config, role, name, rule.allowed)


def refuse(config: object, role: str, name: str, allowed: str) -> None:
    """Raise UsageError for a field of a role's config."""
    path = f"{role}.{name}" if role else name
    raise UsageError(f"{path} is {getattr(config, name)}; it must be {allowed}.")
