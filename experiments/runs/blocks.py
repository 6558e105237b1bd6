"""Blocks: content-addressed files, with parity against the loss of any single one.

A block is a file named by the SHA-256 of its bytes, so that equal data is stored once and damaged
data is detected. Blocks are put into groups; the parity of a group, the XOR of its blocks, restores
one lost block from the others. Whoever stores blocks keeps their names, and the groups.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from .files import open_own, own_files, remove_partial_files, replacing

BLOCK_SIZE = 4 << 20
"""Largest number of bytes of a block."""
GROUP_SIZE = 16
"""Number of consecutive blocks that share a parity."""
PARITY = ".parity"
"""Suffix of a parity's file, because the parity of a single block has the block's own bytes."""
BLOCK_NAME = re.compile(rf"[0-9a-f]{{64}}({re.escape(PARITY)})?")

Buffer = memoryview | bytes
Group = list[str]
"""Name of a group's parity, and then the names of its blocks."""


class DamagedBlock(Exception):
    """A block cannot be read as it was written, nor restored from its group."""


class Blocks:
    """The blocks in one folder.

    Example::

        writer = BlockWriter(blocks)
        names = writer.write(memoryview(data) for data in (b"some", b"data"))
        groups = writer.close()
        blocks.read(names, [memoryview(bytearray(4)) for _ in names], groups)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        self.restored: dict[str, bytes] = {}
        """Blocks that are damaged in the folder, and were restored from their groups."""
        self._verified: set[str] = set()  # written, or read and verified, by this process

    def write(self, data: Buffer, suffix: str = "") -> str:
        """Write a block unless it is known to be in the folder, and return its name."""
        name = hashlib.sha256(data).hexdigest() + suffix
        if not self.holds(name, len(data)):
            with replacing(self.folder / name, durable=False) as file:
                file.write(data)
            self._verified.add(name)
        return name

    def holds(self, name: str, size: int) -> bool:
        """Return whether this process has verified a block that is still there, of this size."""
        with suppress(OSError):
            return name in self._verified and (self.folder / name).stat().st_size == size
        return False

    def read(
        self, names: list[str], targets: Iterable[memoryview], groups: Sequence[Group]
    ) -> None:
        """Read blocks into ``targets``; restore those that are damaged or missing.

        Raises DamagedBlock if the group of one lacks another block.
        """

        def read_one(name: str, target: memoryview) -> None:
            try:
                self._read(name, target)
            except (DamagedBlock, OSError):
                self.restored[name] = self._restore(name, groups, len(target))
                target[:] = self.restored[name]

        list(self.workers.map(read_one, names, targets))

    def verify_parities(self, groups: Sequence[Group]) -> None:
        """Read all parities; restore those that are damaged or missing, if that is possible."""

        def verify(name: str) -> None:
            try:
                self._read_whole(name)
            except (DamagedBlock, OSError):
                with suppress(DamagedBlock):
                    self.restored[name] = self._restore(name, groups)

        list(self.workers.map(verify, {group[0] for group in groups}))

    def damaged(self, names: Iterable[str]) -> set[str]:
        """Read blocks and parities; return the names of those that are not as they were written."""

        def is_damaged(name: str) -> bool:  # in small pieces, which stay in the CPU's cache
            self._verified.discard(name)
            with suppress(OSError), open_own(self.folder / name, "rb") as file:
                if os.fstat(file.fileno()).st_size <= BLOCK_SIZE:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                    if found == name.removesuffix(PARITY):
                        self._verified.add(name)
                        return False
            return True

        names = list(names)
        return {x for x, bad in zip(names, self.workers.map(is_damaged, names), strict=True) if bad}

    def restore(self, sizes: Mapping[str, int | None], groups: Sequence[Group]) -> set[str]:
        """Restore damaged blocks, of these sizes, and parities; return the names of the lost ones.

        What was restored helps to restore others, as a block may be in several groups.
        """
        lost, before = set(sizes), -1
        while len(lost) != before:
            before = len(lost)
            for name in sorted(lost):
                with suppress(DamagedBlock):
                    self.restored[name] = self._restore(name, groups, sizes[name])
                    lost.discard(name)
        return lost

    def write_restored(self) -> None:
        """Write the blocks and parities that were restored."""
        for name, data in self.restored.items():
            self.write(data, Path(name).suffix)
        self.restored.clear()

    def remove_others(self, names: set[str]) -> None:
        """Remove all blocks but those of these names; foreign files are left as they are."""
        self._verified &= names
        remove_partial_files(self.folder)
        for path in self.others(names):
            path.unlink()

    def others(self, names: set[str]) -> list[Path]:
        """Return the files of all blocks but those of these names."""
        return [path for path in own_files(self.folder, BLOCK_NAME) if path.name not in names]

    def _read(self, name: str, target: memoryview) -> None:
        self._verified.discard(name)
        with open_own(self.folder / name, "rb") as file:
            right_size = file.readinto(target) == len(target) and not file.read(1)
        if not right_size or hashlib.sha256(target).hexdigest() != name.removesuffix(PARITY):
            raise DamagedBlock(f"its block {name[:12]} has other content than was written")
        self._verified.add(name)

    def _read_whole(self, name: str) -> memoryview:
        """Return a block of unknown size."""
        size = min((self.folder / name).stat().st_size, BLOCK_SIZE)
        target = memoryview(bytearray(size))
        self._read(name, target)
        return target

    def _read_or_restored(self, name: str) -> Buffer:
        return self.restored[name] if name in self.restored else self._read_whole(name)

    def _restore(self, name: str, groups: Sequence[Group], size: int | None = None) -> bytes:
        """Return a block, or a parity, computed from the others of its group."""
        for group in groups:
            if name in group:
                with suppress(DamagedBlock, OSError):
                    data = xor(self._read_or_restored(x) for x in group if x != name)[:size]
                    if hashlib.sha256(data).hexdigest() == name.removesuffix(PARITY):
                        return data
        raise DamagedBlock(f"its block {name[:12]} is, and another one of the same group")


class BlockWriter:
    """Writer of blocks in groups, whose parities it writes too.

    Groups are counted by position, so that a change of one block changes one parity. A parity is
    computed only for a group that ``known`` lacks.
    """

    def __init__(self, blocks: Blocks, known: Sequence[Group] = ()) -> None:
        self.blocks, self.groups = blocks, list[Group]()
        self._known = {tuple(members): parity for parity, *members in known}
        self._open: list[tuple[str, memoryview]] = []  # the group to come

    def write(self, blocks: Iterable[memoryview]) -> list[str]:
        """Write blocks, which must not change before ``close``, and return their names."""
        views = list(blocks)
        names = []
        for view, name in zip(
            views, self.blocks.workers.map(self.blocks.write, views), strict=True
        ):
            names.append(name)
            self._open.append((name, view))
            if len(self._open) == GROUP_SIZE:
                self._close_group()
        return names

    def close(self) -> list[Group]:
        """Write the last parity, and return all groups."""
        if self._open:
            self._close_group()
        return self.groups

    def _close_group(self) -> None:
        members, self._open = dict(self._open), []  # equal blocks are one
        size = max(map(len, members.values()))
        parity = self._known.get(tuple(members), "")
        if not self.blocks.holds(parity, size):
            parity = self.blocks.write(xor(members.values()), PARITY)
        self.groups.append([parity, *members])


def xor(blocks: Iterable[Buffer]) -> bytes:
    """Return the XOR of blocks, with zeros after the end of the shorter ones."""
    total = np.zeros(BLOCK_SIZE, np.uint8)
    size = 0
    for block in blocks:
        array = np.frombuffer(block, np.uint8)
        total[: len(array)] ^= array
        size = max(size, len(array))
    return total[:size].tobytes()
