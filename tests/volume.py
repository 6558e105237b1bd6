"""A disk that loses power: what may be on it after any operation, and what must be.

Synced data of a file is on the disk, and so are the names in a synced folder. Of what was not
synced, any part may be there: each change of a name on its own, and of a file no write, all, a few,
the first half of one, or the new length with zeros.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from file_layer import Operation, Watcher

Write = tuple[int, bytes | None]
"""Offset and bytes; without bytes, the offset is the new size."""


class Recorder(Watcher):
    """Remembers every operation that changes or syncs a file or a folder."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def after(self, operation: Operation) -> None:
        if operation.name not in ("read", "stat", "list", "mmap"):
            self.operations.append(operation)


@dataclass
class File:
    """A file: the bytes that are on the disk, and the writes that may be."""

    synced: bytes = b""
    writes: list[Write] = field(default_factory=list)

    def content(self) -> bytes:
        return _written(self.synced, self.writes)

    def sync(self) -> None:
        self.synced, self.writes = self.content(), []

    def after_crash(self, rng: random.Random) -> bytes:
        kept = list(self.writes)
        match rng.choice(("none", "all", "some", "torn", "zeros")):
            case "none":
                kept = []
            case "some":
                kept = [write for write in kept if rng.random() < 0.5]
            case "torn" if kept:
                kept = kept[: rng.randrange(len(kept)) + 1]
                offset, data = kept[-1]
                kept[-1] = (offset, data[: len(data) // 2] if data else data)
            case "zeros":
                kept = [(at, None if x is None else bytes(len(x))) for at, x in kept]
        return _written(self.synced, kept)


def _written(content: bytes, writes: Iterable[Write]) -> bytes:
    result = bytearray(content)
    for offset, data in writes:
        size = offset if data is None else offset + len(data)
        result += bytes(max(size - len(result), 0))
        if data is None:
            del result[offset:]
        else:
            result[offset:size] = data
    return bytes(result)


Change = dict[str, File | None]
"""Names and what they are from now on, all at once; None for removed."""


class Volume:
    """The state of a folder on a disk during operations; folders are files without bytes."""

    def __init__(self, folder: Path) -> None:
        self.names: dict[str, File] = {}
        """What processes see."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            self.names[name] = File(path.read_bytes()) if path.is_file() else _folder()
        self.synced = dict(self.names)
        self.changes: list[Change] = []  # since their folder was synced

    def apply(self, operation: Operation) -> None:
        name, file = operation.path, self.names.get(operation.path)
        match operation.name:
            case "open" if file is None and name != ".":
                self._change({name: File()})
            case "open" if file is not None and operation.flags & 0o1000:  # O_TRUNC
                file.writes.append((0, None))
            case "write" if file is not None:
                file.writes.append((operation.offset, operation.data))
            case "truncate" if file is not None:
                file.writes.append((operation.offset, None))
            case "mkdir":
                self._change({name: _folder()})
            case "unlink" | "rmdir":
                self._change({name: None})
            case "rename" if file is not None:
                self._rename(name, operation.target)
            case "fsync":
                if file is None or file.synced == FOLDER:
                    self._sync_folder(name)
                else:
                    file.sync()

    def _rename(self, old: str, new: str) -> None:
        below = [name for name in self.names if name.startswith(f"{old}/")]
        change: Change = {new + name[len(old) :]: self.names[name] for name in [old, *below]}
        self._change(change | dict.fromkeys([old, *below]))

    def _change(self, change: Change) -> None:
        self.changes.append(change)
        _apply(self.names, change)

    def _sync_folder(self, folder: str) -> None:
        for change in [x for x in self.changes if _parent(next(iter(x))) == folder]:
            _apply(self.synced, change)
            self.changes.remove(change)

    def crash(self, rng: random.Random, folder: Path) -> None:
        """Write into a new folder what a power failure may leave now."""
        names = dict(self.synced)
        share = rng.choice((0.0, 0.5, 0.5, 1.0))
        for change in self.changes:
            if rng.random() < share:
                _apply(names, change)
        folder.mkdir(parents=True)
        for name in sorted(names):
            path, file = folder / name, names[name]
            if not path.parent.is_dir():
                continue  # its folder's own name is lost
            if file.synced == FOLDER:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(file.after_crash(rng))


FOLDER = b"\0folder"


def _folder() -> File:
    return File(FOLDER)


def _parent(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()


def _apply(names: dict[str, File], change: Change) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def crashes(
    before: Path, operations: list[Operation], points: Iterable[int], out: Path, seed: int
) -> Iterator[tuple[int, Path]]:
    """Yield, for each point, the folder that a power failure after so many operations leaves."""
    volume, done = Volume(before), 0
    for number, point in enumerate(sorted(points)):
        for operation in operations[done:point]:
            volume.apply(operation)
        done = point
        folder = out / f"crash-{number}"
        volume.crash(random.Random(f"{seed} {number}"), folder)
        yield point, folder
