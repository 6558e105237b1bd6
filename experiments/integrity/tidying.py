"""What a run folder no longer needs: spare checkpoints, their blocks, and partly written files."""

from dataclasses import dataclass
from pathlib import Path

from ...envs.errors import FolderBusy, RunError
from ..runs.checkpoints import Checkpoints
from ..runs.files import TEMPORARY, own_files
from ..runs.folder_lock import locked

PLACES = ("", "checkpoints", "checkpoints/blocks", "videos", "figures")
"""Folders of a run's files."""


@dataclass(frozen=True)
class Spare:
    """Files of a run folder that are not needed."""

    folder: Path
    finished: bool
    files: tuple[Path, ...]
    """In the order in which they are deleted: checkpoints before their blocks."""
    size: int
    """Bytes on disk."""


def find_spare(folder: Path, *, finished: bool) -> Spare:
    """Return what can be deleted from a run folder in which no process works.

    That is what killed processes had written in part, blocks that no checkpoint needs and, of a
    finished run, all checkpoints but the newest. Checkpoints and blocks are kept if a checkpoint
    cannot be read.
    """
    checkpoints = Checkpoints(folder / "checkpoints")
    files = dict.fromkeys(checkpoints.unneeded(1 if finished else len(checkpoints.steps())))
    files |= dict.fromkeys(partial_files(folder))
    size = sum(path.lstat().st_size for path in files)
    return Spare(folder, finished, tuple(files), size)


def partial_files(folder: Path) -> list[Path]:
    """Return what killed processes have written in part."""
    return [path for place in PLACES for path in own_files(folder / place, TEMPORARY)]


def delete_spare(spare: Spare) -> None:
    """Delete the files of a run folder that are still not needed.

    Before a checkpoint is deleted, every block of the newer one is read. Raises RunError if it is
    damaged or if a process works in the folder; nothing is deleted then.
    """
    checkpoints = Checkpoints(spare.folder / "checkpoints")
    try:
        with locked(spare.folder, "working"):
            finished = spare.finished and (spare.folder / "finished").exists()
            now = find_spare(spare.folder, finished=finished)
            if any(path.suffix == ".pt" for path in now.files) and not (
                checkpoints.newest_is_whole()
            ):
                raise RunError(
                    f"Nothing was deleted from {spare.folder}: its newest checkpoint is damaged, "
                    "and may need the others."
                )
            for path in now.files:
                path.unlink()
    except FolderBusy as error:
        raise RunError(f"Nothing was deleted from {spare.folder}. {error}") from error
