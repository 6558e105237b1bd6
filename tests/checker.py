"""Shapes and types are enforced under pytest, by jaxtyping's import hook and this checker."""

import functools
import inspect
import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import jaxtyping

# It draws the items of a list that it checks; with the process's generator it would change runs.
with patch("random.getrandbits", random.Random(0).getrandbits):
    from beartype import BeartypeConf, beartype

ALWAYS, EVERY = 200, 17
"""Each function is checked at its first calls in a process, and then at every 17th: the checks of
all calls take two thirds of the time of the tests."""

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""The type checker of a call."""


def sample_calls() -> None:
    """Let the import hook's decorator check a sample of a function's calls."""
    jaxtyped = jaxtyping.jaxtyped

    def sampling(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        decorate = jaxtyped(*args, **kwargs)
        return lambda target: _sampled(target, decorate(target))

    jaxtyping.jaxtyped = sampling  # type: ignore[assignment]


def _sampled(function: Any, checking: Any) -> Any:
    if not inspect.isfunction(function):
        return checking
    calls = 0

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= ALWAYS or calls % EVERY == 0:
            return checking(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapper
