"""Errors of the disk as sentences whose advice fits the error."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...envs.errors import RunError

FULL = (errno.ENOSPC, errno.EDQUOT)
OF_DISKS = (*FULL, errno.EFBIG, errno.EIO, errno.EROFS)
"""Errors that are of a disk even if they name no file."""
REMEDIES = {
    errno.EFBIG: "raise the limit of this user on the size of files (`ulimit -f`)",
    errno.EOVERFLOW: "move that file away, as none of this name is so large",
    errno.EMFILE: "raise the limit of this user on open files (`ulimit -n`)",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.EROFS: "make the file system writable",
    errno.EIO: "check the disk",
}


@contextmanager
def reporting_disk_errors(
    folder: Path,
    kept: str = "the last checkpoint is complete",
    then: str = "the same command continues from it",
) -> Iterator[None]:
    """Turn an error of reading or writing a folder into a RunError: what is kept, and what to do.

    An error of other files passes. The tracebacks of threads that fail on the folder are not
    printed, because each such thread passes its error on to the thread that it writes for.
    """
    print_traceback = threading.excepthook
    threading.excepthook = lambda failure: (
        None if _is_of(folder, failure.exc_value) else print_traceback(failure)
    )
    try:
        yield
    except OSError as error:
        if not _is_of(folder, error):
            raise
        raise RunError(
            f"{describe(error, folder)}; {kept}; {remedy(error)}, and {then}."
        ) from error
    finally:
        threading.excepthook = print_traceback


def describe(error: OSError, folder: Path) -> str:
    """Return what cannot be done, and why."""
    if error.errno in FULL:
        return f"The disk of {folder} is full"
    path = os.fsdecode(error.filename) if error.filename else folder
    return f"{path} cannot be read or written ({error.strerror or error})"


def remedy(error: OSError) -> str:
    """Return what helps against an error, as an imperative."""
    return "make room" if error.errno in FULL else REMEDIES.get(error.errno or 0, "mend that")


def _is_of(folder: Path, error: BaseException | None) -> bool:
    if not isinstance(error, OSError):
        return False
    if error.filename is None or isinstance(error.filename, int):
        return error.errno in OF_DISKS
    path = os.path.abspath(os.fsdecode(error.filename))
    return path == os.path.abspath(folder) or path.startswith(
        os.path.join(os.path.abspath(folder), "")
    )
