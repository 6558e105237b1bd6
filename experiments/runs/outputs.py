"""Files that are written at the end of a long computation.

They are tried before it begins, and their content is kept elsewhere if writing them fails after it.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...envs.errors import RunError, UsageError
from .files import write_file


def check_writable(*paths: Path, remedy: str) -> None:
    """Raise UsageError, which names the remedy, unless every file could be created or replaced.

    Nothing is left behind, and no folder is created.
    """
    for path in paths:
        try:
            _try_to_write(path)
        except OSError as error:
            advice = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else remedy
            raise UsageError(f"{_failure(path, error)}; {advice}.") from error


def write_or_keep(path: Path, data: bytes | str) -> None:
    """Write a file; if that fails, keep its content in the folder of temporary files.

    Raises RunError, which names both files, after a failure.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise RunError(f"{_failure(path, error)}; {_keep(path, data)}.") from error


@contextmanager
def reporting_failure(path: Path, consequence: str) -> Iterator[None]:
    """Turn the error of writing a file, or files beside it, into a RunError with a consequence."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{_failure(path, error)}; {consequence}.") from error


def _failure(path: Path, error: OSError) -> str:
    return f"{path} cannot be written ({error.strerror or error})"


def _try_to_write(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")


def _keep(path: Path, data: bytes | str) -> str:
    """Write data into a temporary folder, and return a clause that says where it is."""
    try:
        kept = Path(tempfile.mkdtemp(prefix="reverie-")) / path.name
        write_file(kept, data)
    except OSError as error:
        return f"nor can the folder of temporary files ({error.strerror or error})"
    return f"its content is in {kept}"
