"""Checkpoints: the complete state of a run, from which it resumes bit for bit.

A checkpoint is one small file, named by its agent step. Large tensors are stored beside it in
blocks, which checkpoints share: data that has not changed since the last checkpoint (most of a
replay buffer) is not written again. A block that is damaged or missing is restored from the parity
of its group. The newest two checkpoints are kept. Nothing is unpickled.
"""

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from ...envs.errors import UsageError
from .blocks import Blocks, BlockWriter, DamagedBlock, Group
from .disk_errors import describe, remedy, reporting_disk_errors
from .files import (
    FORMAT,
    check_format,
    is_own,
    make_folder,
    open_own,
    remove_partial_files,
    replacing,
    sync_folder,
)
from .jsonl import Mark
from .packed_state import (
    DamagedCheckpoint,
    Packed,
    State,
    checked,
    map_tensors,
    names_of_files,
    num_bytes,
    pack,
    unpack,
)
from .runtime import available_memory

NUM_KEPT = 2
"""Number of checkpoints that are kept."""
CHECKPOINT_NAME = re.compile(r"[0-9]{12,}\.pt")
DIGEST_SIZE = 32
"""Bytes of the SHA-256 digest at the beginning of a checkpoint's file."""


class NoWholeCheckpoint(UsageError):
    """No checkpoint can be loaded, and those of ``steps`` are damaged."""

    def __init__(self, message: str, steps: Sequence[int]) -> None:
        super().__init__(message)
        self.steps = steps


class Checkpoints:
    """The checkpoints of one run folder.

    Example::

        checkpoints.save(1000, {"agent": agent.state_dict()})
        state = checkpoints.load()  # the newest, or None
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.blocks = folder, Blocks(folder / "blocks")
        self._files: dict[int, set[str]] = {}  # names of blocks and parities by step
        self.marks: dict[str, Mark] = {}
        """The marks of the checkpoint that was loaded."""
        self.replaced: Sequence[int] = ()
        """Steps of damaged checkpoints, which the next one replaces."""
        self._groups: Sequence[Group] = ()  # of the last checkpoint that was saved or loaded

    def steps(self) -> list[int]:
        """Return the agent steps of the existing checkpoints in ascending order.

        Raises OSError if the folder cannot be read: its checkpoints are then not taken for missing.
        """
        if not self.folder.exists():
            return []
        paths = (self.folder / name for name in os.listdir(self.folder))
        return sorted(int(path.stem) for path in paths if is_own(path, CHECKPOINT_NAME))

    def path(self, step: int) -> Path:
        """Return the file of the checkpoint of an agent step."""
        return self.folder / f"{step:012d}.pt"

    def save(
        self, step: int, state: State, marks: Mapping[str, Mark] = MappingProxyType({})
    ) -> None:
        """Write a checkpoint atomically; earlier ones stay complete even if the process is killed.

        ``marks`` are those of the files that grow beside the checkpoints.
        Raises RunError if it cannot be written.
        """
        with reporting_disk_errors(self.folder):
            make_folder(self.blocks.folder)
            writer = BlockWriter(self.blocks, self._groups)
            packed = Packed(
                map_tensors(lambda tensor: pack(tensor, writer), state),
                writer.close(),
                dict(marks),
            )
            self._groups = packed.groups
            self.blocks.write_restored()
            sync_folder(self.blocks.folder)
            body = io.BytesIO()
            torch.save({"format": FORMAT} | packed._asdict(), body)
            with replacing(self.path(step)) as file:
                file.write(hashlib.sha256(body.getbuffer()).digest())
                file.write(body.getbuffer())
            self._files[step] = names_of_files(packed)
        # A later one could not be read, or this run would have continued from it.
        for other in [s for s in self.steps() if s > step or (s in self.replaced and s != step)]:
            self.path(other).unlink()
        self.replaced = ()
        self._remove_unused()

    def load(self, select: Callable[[State], State] | None = None) -> State | None:
        """Load the newest complete checkpoint to the CPU; None if there is no checkpoint.

        ``select`` returns the part of a state that is wanted; blocks of the rest are not read, so
        that their damage does no harm. A block that had to be restored, and a damaged checkpoint,
        which is skipped, are reported on stderr; nothing in the folder is changed. Raises
        NoWholeCheckpoint if there are checkpoints and all are damaged, and UsageError if one has
        another format.
        """
        damages, damaged = list[str](), list[int]()
        remedies = ["move the folder away to start again"]
        for step in reversed(self.steps()):
            try:
                state = self._load(step, select)
            except (DamagedCheckpoint, DamagedBlock) as error:
                damages.append(f"The checkpoint {self.path(step)} is damaged ({error})")
                damaged.append(step)
                continue
            except OSError as error:
                damages.append(describe(error, self.path(step)))
                remedies.insert(0, remedy(error))
                continue
            for damage in damages:
                print(f"{damage}; continuing from the one of step {step:,}.", file=sys.stderr)
            return state
        if damages:
            raise NoWholeCheckpoint(
                f"{'. '.join(damages)}. There is no other checkpoint, and nothing was changed; "
                f"{', or '.join(dict.fromkeys(remedies))}.",
                damaged,
            )
        return None

    def unneeded(self, num_kept: int) -> list[Path]:
        """Return the checkpoints before the newest ``num_kept``, then what these do not need.

        Returns nothing if one of those that are kept cannot be read.
        """
        steps, names = self.steps(), set[str]()
        kept = steps[max(len(steps) - num_kept, 0) :]
        try:
            for step in kept:
                names |= names_of_files(self.read_packed(step))
        except (DamagedCheckpoint, OSError, UsageError):
            return []
        older = [self.path(step) for step in steps if step not in kept]
        return older + self.blocks.others(names)

    def newest_is_whole(self) -> bool:
        """Return whether the newest checkpoint and all of its blocks are as they were written."""
        try:
            names = names_of_files(self.read_packed(self.steps()[-1]))
        except (DamagedCheckpoint, OSError, UsageError):
            return False
        return not self.blocks.damaged(names)

    def _load(self, step: int, select: Callable[[State], State] | None) -> State:
        """Load one checkpoint; report what is damaged and can be restored."""
        packed = self.read_packed(step)
        groups, self.marks = packed.groups, packed.marks
        wanted = select(packed.state) if select else packed.state
        sizes = [0]  # of blocks that may be stored once and read often
        map_tensors(lambda x: sizes.append(num_bytes(x) if isinstance(x, dict) else 0), wanted)
        if sum(sizes) > (available := available_memory()):
            raise UsageError(
                f"The checkpoint {self.path(step)} needs {sum(sizes) / 1e9:,.1f} GB of memory, and "
                f"{available / 1e9:,.1f} GB are free; nothing was changed."
            )
        self.blocks.restored.clear()
        state: State = map_tensors(lambda x: unpack(x, self.blocks, groups), wanted)
        if select is None:
            self.blocks.verify_parities(groups)
        if names := [name[:12] for name in self.blocks.restored]:
            print(
                f"{len(names)} of the blocks in {self.blocks.folder} were damaged or missing and "
                f"have been restored from their parity ({', '.join(names)}); nothing is lost, and "
                "the next checkpoint of the run writes them again.",
                file=sys.stderr,
            )
        self._files[step], self._groups = names_of_files(packed), groups
        return state

    def read_packed(self, step: int) -> Packed:
        """Return what the file of a checkpoint holds.

        Raises DamagedCheckpoint, OSError if it cannot be read, and UsageError for another format.
        """
        with open_own(self.path(step), "rb") as file:
            data = file.read()
        digest, body = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
        if hashlib.sha256(body).digest() != digest:
            raise DamagedCheckpoint("it is truncated or modified")
        try:
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for data that it refuses to load
            raise DamagedCheckpoint("it holds objects that are not loaded for safety") from error
        if not isinstance(loaded, dict):
            raise DamagedCheckpoint("it is no checkpoint")
        check_format(self.path(step), loaded.get("format"), "train again in another folder")
        try:
            return checked(loaded)
        except RecursionError:
            raise DamagedCheckpoint("its state is nested too deeply") from None

    def _remove_unused(self) -> None:
        """Remove old checkpoints, their unshared blocks, and partly written files.

        Nothing is removed while a checkpoint that is to be kept cannot be read.
        """
        remove_partial_files(self.folder)
        steps = self.steps()
        kept = steps[-NUM_KEPT:]
        for step in kept:
            try:
                if step not in self._files:
                    self._files[step] = names_of_files(self.read_packed(step))
            except (DamagedCheckpoint, OSError, UsageError) as error:
                print(
                    f"The checkpoint {self.path(step)} cannot be read ({error}); older checkpoints "
                    "and all blocks are kept until it is replaced, because it may need them.",
                    file=sys.stderr,
                )
                return
        for step in steps[:-NUM_KEPT]:
            self.path(step).unlink()
        self._files = {step: self._files[step] for step in kept}
        self.blocks.remove_others(set().union(*self._files.values()))
