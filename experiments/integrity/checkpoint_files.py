"""Checks of checkpoints: their own files, and every block and parity, each read once."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ...envs.errors import UsageError
from ..runs.blocks import BLOCK_NAME, Group
from ..runs.checkpoints import CHECKPOINT_NAME, Checkpoints
from ..runs.files import TEMPORARY, is_own, make_folder, sync_folder
from ..runs.jsonl import Mark
from ..runs.packed_state import DamagedCheckpoint, Packed, sizes_of_blocks
from ..runs.run import UNREADABLE
from ..sessions.lost_replays import lacks_replay_alone
from ..text.terminal_text import file_size
from .findings import Finding, count, names, set_aside, unreadable


@dataclass
class CheckpointFiles:
    """What a check has learned about the checkpoints of a run."""

    checkpoints: Checkpoints
    findings: list[Finding] = field(default_factory=list)
    packed: dict[int, Packed] = field(default_factory=dict)
    """What the files of checkpoints hold that can be read, by step."""
    damages: dict[int, str] = field(default_factory=dict)
    """The reasons why checkpoints cannot be loaded, by step."""
    lost_replays: list[int] = field(default_factory=list)
    """The steps of the checkpoints of which the replay alone is lost."""
    num_files: int = 0
    num_bytes: int = 0
    """Of checkpoints, blocks and parities."""

    @property
    def whole(self) -> list[int]:
        """The steps of the checkpoints that can be loaded, in ascending order."""
        return sorted(self.packed.keys() - self.damages.keys())

    @property
    def marks(self) -> dict[str, Mark]:
        """The marks of the newest whole checkpoint."""
        return self.packed[self.whole[-1]].marks if self.whole else {}


def check_checkpoints(checkpoints: Checkpoints) -> CheckpointFiles:
    """Read all checkpoints of a run and everything that they need; nothing is changed."""
    state = CheckpointFiles(checkpoints)
    try:
        steps = checkpoints.steps()
    except OSError as error:
        state.findings.append(unreadable(checkpoints.folder, error))
        return state
    skipped = False
    for step in steps:
        try:
            state.packed[step] = checkpoints.read_packed(step)
        except DamagedCheckpoint as error:
            state.damages[step] = str(error)
        except OSError as error:
            state.findings.append(unreadable(checkpoints.path(step), error))
            skipped = True
        except UsageError as error:
            state.findings.append(Finding(str(error)))
            skipped = True
    _check_blocks(state)
    for step, damage in state.damages.items():
        path = checkpoints.path(step)
        text = f"The checkpoint {path} is damaged ({damage})."
        # Without another one it may still hold the weights, and load says what helps.
        state.findings.append(Finding(text, partial(set_aside, path) if state.whole else None))
    complete = not skipped and len(state.packed) == len(steps)
    state.findings += _check_others(state, complete=complete)
    files = [checkpoints.path(step) for step in steps]
    files += [checkpoints.blocks.folder / name for name in _sizes(state)]
    found = [path.lstat().st_size for path in files if os.path.lexists(path)]
    state.num_files, state.num_bytes = len(found), sum(found)
    return state


def _sizes(state: CheckpointFiles) -> dict[str, int | None]:
    """Return the size of every block, and None for every parity, of all readable checkpoints."""
    sizes: dict[str, int | None] = {}
    for packed in state.packed.values():
        sizes |= sizes_of_blocks(packed)
    return sizes


def _check_blocks(state: CheckpointFiles) -> None:
    """Read every block and parity once; note the checkpoints that lack one for good."""
    blocks, sizes = state.checkpoints.blocks, _sizes(state)
    groups: list[Group] = [group for packed in state.packed.values() for group in packed.groups]
    damaged = blocks.damaged(sizes)
    lost = blocks.restore({name: sizes[name] for name in damaged}, groups)
    if restored := damaged - lost:
        state.findings.append(
            Finding(
                f"{len(restored):,} of the {count(len(sizes), 'block')} and parities in "
                f"{blocks.folder} are damaged or missing; the others of their groups restore them.",
                lambda: _write_restored(state, len(restored)),
            )
        )
    for step, packed in state.packed.items():
        of_state = {name for name, size in sizes_of_blocks(packed).items() if size is not None}
        if missing := of_state & lost:
            state.damages[step] = (
                f"{count(len(missing), 'block')} lost, beyond what parity restores"
            )
            if lacks_replay_alone(packed, lost):
                state.damages[step] += ", all of its replay"
                state.lost_replays.append(step)


def _write_restored(state: CheckpointFiles, number: int) -> str:
    blocks = state.checkpoints.blocks
    make_folder(blocks.folder)
    blocks.write_restored()
    sync_folder(blocks.folder)
    return f"{count(number, 'restored file')} written to {blocks.folder.name}."


def _check_others(state: CheckpointFiles, *, complete: bool) -> Iterator[Finding]:
    """Yield what is among the checkpoints and blocks and belongs to none of them."""
    folder, blocks = state.checkpoints.folder, state.checkpoints.blocks.folder
    needed, spare, foreign = set(_sizes(state)), list[Path](), list[Path]()
    for place, own in ((folder, CHECKPOINT_NAME), (blocks, BLOCK_NAME)):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path == blocks or UNREADABLE in path.name or is_own(path, TEMPORARY):
                continue
            if not is_own(path, own):
                foreign.append(path)
            elif place == blocks and path.name not in needed:
                spare.append(path)
    if spare and complete:
        size = sum(path.lstat().st_size for path in spare)
        yield Finding(
            f"{count(len(spare), 'block')} ({file_size(size)}) that no checkpoint needs; "
            "`reverie runs --tidy` deletes them.",
            harmless=True,
        )
    if foreign:
        yield Finding(
            f"{count(len(foreign), 'foreign file')} in {folder}, left as they are: "
            f"{names(foreign)}.",
            harmless=True,
        )
