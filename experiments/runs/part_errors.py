"""Errors of building parts and of loading their states, as sentences that say what does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...envs.errors import RunError, UsageError, own_place


@contextmanager
def building(part: str) -> Iterator[None]:
    """Turn an error of building a part, such as a lack of memory, into a UsageError."""
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError) as error:
        cause = _first_line(error) + own_place(error)
        raise UsageError(f"The {part} cannot be built with these settings: {cause}.") from error


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn an error of loading a checkpoint of another config or version into a UsageError."""
    try:
        yield
    except (UsageError, RunError, OSError):
        raise
    except Exception as error:  # loading a wrong state may raise anything
        raise UsageError(
            f"The checkpoint in {folder} does not fit its config in this version "
            f"({type(error).__name__}: {_first_line(error)}); it was left as it is."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
