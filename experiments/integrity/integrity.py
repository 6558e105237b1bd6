"""The check of a folder: a run or a recording, or the many that are below it."""

import os
from collections.abc import Iterator
from pathlib import Path

from ...envs.errors import FolderBusy, UsageError
from ..runs.disk_errors import reporting_disk_errors
from ..runs.files import is_export
from ..runs.folder_lock import is_locked, locked
from ..runs.run import Run
from ..sessions.lost_replays import FLAG
from ..text.terminal_text import file_size
from .checkpoint_files import CheckpointFiles, check_checkpoints
from .description_files import check_descriptions, check_end
from .findings import Report, count, find_aside, find_partial_files
from .log_files import check_events, check_rows
from .recording_files import check_recording, is_recording

OF_RUNS = ("config.json", "provenance.json", "checkpoints")
"""Names of which a run folder has one at least, even if it is damaged."""


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return any((folder / name).exists() for name in OF_RUNS) and not is_export(folder)


def find_folders(folder: Path) -> list[Path]:
    """Return the runs and recordings in or below a folder; links are not followed.

    Raises UsageError if there is none.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; name a run, a recording, or one with many.")
    found = sorted(_walk(folder))
    if not found:
        raise UsageError(
            f"{folder} holds neither a run nor a recording: no config.json and no manifest.json is "
            "in it or below it."
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for place, inner, _ in os.walk(folder):
        if is_run(Path(place)) or is_recording(Path(place)):
            inner[:] = [name for name in inner if name != "checkpoints"]
            yield Path(place)


def check_folder(folder: Path) -> Report:
    """Check a run or a recording; nothing is changed.

    Raises FolderBusy if a process works there, as what it is writing could be taken for damage.
    """
    _require_idle(folder)
    report = _check(folder)
    _require_idle(folder)
    return report


def repair_folder(folder: Path) -> tuple[Report, list[str]]:
    """Check a folder, repair what can be repaired, and check it again.

    Returns the last report, and a sentence for each repair. Raises FolderBusy if a process works
    there, and RunError if the disk fails.
    """
    with locked(folder, "repairing") as lock:
        done = []
        for finding in _check(folder).findings:
            if finding.repair:
                lock.check()
                with reporting_disk_errors(folder, "nothing good was deleted", "repair it again"):
                    done.append(finding.repair())
        return _check(folder), done


def _require_idle(folder: Path) -> None:
    if is_locked(folder):
        raise FolderBusy(f"A process works in {folder}; check it when that has ended.")


def _check(folder: Path) -> Report:
    return check_recording(folder) if is_recording(folder) else check_run(folder)


def check_run(folder: Path) -> Report:
    """Check a run folder."""
    run, report = Run(folder), Report(folder, "run")
    state = check_checkpoints(run.checkpoints)
    step, marks = state.whole[-1] if state.whole else 0, state.marks
    report.findings += [
        *state.findings,
        *check_descriptions(run, marks, step),
        *(check_end(run, step) if state.whole or not state.damages else ()),
        *check_rows(run, marks),
        *check_events(run, marks),
        *find_partial_files(folder),
        *find_aside(folder),
    ]
    number, size = len(state.packed | state.damages), file_size(state.num_bytes)
    at = f" (of {' and '.join(f'{step:,}' for step in state.whole)})" if state.whole else ""
    report.contents = f"{len(state.whole)} of {count(number, 'checkpoint')} whole{at}, {size}"
    report.outlook = _outlook(state)
    return report


def _outlook(state: CheckpointFiles) -> str:
    """Return what training continues from."""
    if state.whole and (state.checkpoints.folder.parent / "finished").exists():
        return f"A longer training continues from the checkpoint of step {state.whole[-1]:,}."
    if state.whole:
        return f"Training continues from the checkpoint of step {state.whole[-1]:,}."
    if state.lost_replays:
        return (
            f"No checkpoint is whole. That of step {max(state.lost_replays):,} lacks its replay "
            f"alone: the same command with {FLAG} continues from it, with an empty replay and no "
            "longer exactly. Or move the folder away to start again."
        )
    if state.damages:
        return (
            "No checkpoint is whole, so training cannot continue; they are left as they are. Move "
            "the folder away to start again."
        )
    return "There is no checkpoint; training begins at step 0."
