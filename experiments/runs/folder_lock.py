"""The lock of a folder, which one process holds while it writes there."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...envs.errors import FolderBusy, RunError, UsageError
from .files import make_folder, open_own

NAME = "lock"


@dataclass(frozen=True)
class FolderLock:
    """An exclusive lock, by the file ``lock`` of the folder."""

    folder: Path
    file: IO[str]

    def is_held(self) -> bool:
        """Return whether the folder's file is still the one that is locked."""
        try:
            return os.path.samestat(os.fstat(self.file.fileno()), os.lstat(self.folder / NAME))
        except OSError:
            return False

    def check(self) -> None:
        """Raise RunError if the file was removed or replaced, so that others may write here."""
        if not self.is_held():
            raise RunError(
                f"{self.folder / NAME} was removed or replaced while this process worked there, so "
                "that another one may write in the folder too; this one stops without writing. "
                "The last checkpoint is complete, and the same command continues from it."
            )


@contextmanager
def locked(folder: Path, activity: str) -> Iterator[FolderLock]:
    """Create a folder if needed, and hold an exclusive lock on it, which ends with the process.

    Raises UsageError if it cannot be written, and FolderBusy, which names the other process, if the
    lock is held. Folders that it creates are removed if a UsageError leaves them without a file.
    """
    made = [x for x in (folder, *folder.parents) if not x.exists()]
    with ExitStack() as resources:
        try:
            make_folder(folder)
            file = resources.enter_context(open_own(folder / NAME, "a+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()} on {platform.node()}\n".encode())
        except BlockingIOError:
            file.seek(0)
            raise FolderBusy(
                f"Process {file.read().strip() or 'unknown'} is {activity} in {folder}; "
                "wait for it, stop it, or choose another folder with --folder."
            ) from None
        except OSError as error:
            raise UsageError(
                f"The folder {folder} cannot be written ({error.strerror}); "
                "choose another with --folder."
            ) from error
        try:
            yield FolderLock(folder, file)
        except UsageError:
            with suppress(OSError):  # another process writes there, or has removed it
                if made and os.listdir(folder) == [NAME]:
                    (folder / NAME).unlink()
                    for each in made:
                        each.rmdir()
            raise


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder."""
    try:
        with open_own(folder / NAME, "r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none
        return False
    return False
