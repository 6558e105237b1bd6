"""A layer below every file operation in a folder, which watches, refuses or shortens them.

Python's own implementation of ``open`` (``_pyio``) takes the place of the one in C, so that all of
its operations are calls of ``os``, whose functions are then replaced. What other libraries do in C
(films) and what other processes do is not seen.
"""

import _pyio  # type: ignore[import-not-found]
import builtins
import io
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = str(Path(__file__).parent.parent) + os.sep
TESTS = str(Path(__file__).parent) + os.sep
AT = {"dir_fd", "src_dir_fd", "dst_dir_fd"}


@dataclass
class Operation:
    """One call on a file or folder below the watched folder."""

    name: str
    """open, read, write, fsync, truncate, rename, unlink, mkdir, rmdir, list, stat or mmap."""
    path: str
    """Relative to the watched folder."""
    target: str = ""
    """The new path of a rename."""
    flags: int = 0
    """Of an open."""
    offset: int = 0
    """Of a write; the new size of a truncate."""
    data: bytes = b""
    """Of a write."""

    @property
    def site(self) -> str:
        """The operation and the place in this package that asked for it."""
        frame = sys._getframe(1)
        while frame.f_back:
            name = frame.f_code.co_filename
            if name.startswith(ROOT) and not name.startswith(TESTS) and "/.venv/" not in name:
                return f"{self.name} {name.removeprefix(ROOT)}:{frame.f_code.co_name}"
            frame = frame.f_back
        return f"{self.name} elsewhere"


class Watcher:
    """What happens around every operation; threads call it one at a time."""

    def before(self, operation: Operation) -> int | None:
        """Raise an OSError to refuse the operation; return how many bytes of a write to take."""

    def after(self, operation: Operation) -> None:
        """Called when the operation was done."""


@contextmanager
def watching(folder: Path, watcher: Watcher) -> Iterator[None]:
    """Call ``watcher`` around every operation of this process below a folder."""
    layer = _Layer(os.path.realpath(folder), watcher)
    with ExitStack() as stack:
        for name in ("open", "close", "read", "write", "fsync", "ftruncate", "truncate", "replace",
                     "rename", "unlink", "remove", "mkdir", "rmdir", "listdir", "scandir", "stat",
                     "lstat"):  # fmt: skip
            stack.enter_context(patch.object(os, name, getattr(layer, name)))
        stack.enter_context(patch.object(io, "open", _pyio.open))
        stack.enter_context(patch.object(builtins, "open", _pyio.open))
        stack.enter_context(patch.object(mmap, "mmap", layer.mmap()))
        yield


class _Layer:
    def __init__(self, folder: str, watcher: Watcher) -> None:
        self.folder, self.watcher = folder, watcher
        self.os = {name: getattr(os, name) for name in dir(os)}
        self.paths: dict[int, str] = {}  # of open descriptors
        self.lock = threading.RLock()

    def locate(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return a path relative to the watched folder; None if it is elsewhere."""
        if isinstance(path, int):
            return self.paths.get(path)
        name = os.fsdecode(path)
        if dir_fd is not None and not os.path.isabs(name):
            above = self.paths.get(dir_fd)
            return None if above is None else os.path.normpath(os.path.join(above, name))
        name = os.path.normpath(os.path.join(self.os["getcwd"](), name))
        if name == self.folder:
            return "."
        inside = name.startswith(self.folder + os.sep)
        return name.removeprefix(self.folder + os.sep) if inside else None

    def watch(self, operation: Operation | None, call: Callable[[], Any]) -> Any:
        if operation is None:
            return call()
        with self.lock:
            self.watcher.before(operation)
            result = call()
            self.watcher.after(operation)
            return result

    def simple(self, name: str, function: str, path: Any, *args: Any, **kwargs: Any) -> Any:
        where = self.locate(path, kwargs.get("dir_fd"))
        operation = None if where is None else Operation(name, where)
        return self.watch(operation, lambda: self.os[function](path, *args, **kwargs))

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self.locate(path, dir_fd)

        def call() -> int:
            descriptor: int = self.os["open"](path, flags, mode, dir_fd=dir_fd)
            if where is not None:
                self.paths[descriptor] = where
            return descriptor

        operation = None if where is None else Operation("open", where, flags=flags)
        return self.watch(operation, call)  # type: ignore[no-any-return]

    def close(self, descriptor: int) -> None:
        self.paths.pop(descriptor, None)
        self.os["close"](descriptor)

    def read(self, descriptor: int, size: int) -> bytes:
        return self.simple("read", "read", descriptor, size)  # type: ignore[no-any-return]

    def write(self, descriptor: int, data: Any) -> int:
        if descriptor not in self.paths:
            return self.os["write"](descriptor, data)  # type: ignore[no-any-return]
        with self.lock:
            seek, end = self.os["lseek"], os.SEEK_END
            where = (descriptor, 0, end) if self.appends(descriptor) else (descriptor, 0, 1)
            operation = Operation(
                "write", self.paths[descriptor], offset=seek(*where), data=bytes(data)
            )
            size = self.watcher.before(operation)
            operation.data = operation.data[:size]
            written: int = self.os["write"](descriptor, operation.data)
            self.watcher.after(operation)
            return written

    def appends(self, descriptor: int) -> bool:
        import fcntl

        return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)

    def fsync(self, descriptor: int) -> None:
        self.simple("fsync", "fsync", descriptor)

    def ftruncate(self, descriptor: int, size: int) -> None:
        where = self.paths.get(descriptor)
        operation = None if where is None else Operation("truncate", where, offset=size)
        self.watch(operation, lambda: self.os["ftruncate"](descriptor, size))

    def truncate(self, path: Any, size: int) -> None:
        where = self.locate(path)
        operation = None if where is None else Operation("truncate", where, offset=size)
        self.watch(operation, lambda: self.os["truncate"](path, size))

    def rename(self, source: Any, target: Any, **kwargs: Any) -> None:
        old, new = self.locate(source), self.locate(target)
        inside = old is not None and new is not None
        operation = Operation("rename", old or "", new or "") if inside else None
        self.watch(operation, lambda: self.os["rename"](source, target, **kwargs))

    replace = rename

    def unlink(self, path: Any, **kwargs: Any) -> None:
        self.simple("unlink", "unlink", path, **kwargs)

    remove = unlink

    def mkdir(self, path: Any, *args: Any, **kwargs: Any) -> None:
        self.simple("mkdir", "mkdir", path, *args, **kwargs)

    def rmdir(self, path: Any, **kwargs: Any) -> None:
        self.simple("rmdir", "rmdir", path, **kwargs)

    def listdir(self, path: Any = ".") -> Any:
        return self.simple("list", "listdir", path)

    def scandir(self, path: Any = ".") -> Any:
        return self.simple("list", "scandir", path)

    def stat(self, path: Any, **kwargs: Any) -> Any:
        return self.simple("stat", "stat", path, **kwargs)

    def lstat(self, path: Any, **kwargs: Any) -> Any:
        return self.simple("stat", "lstat", path, **kwargs)

    def mmap(self) -> type:
        layer = self

        class Mapped(mmap.mmap):
            def __new__(cls, fileno: int, *args: Any, **kwargs: Any) -> Any:
                where = layer.paths.get(fileno)
                operation = None if where is None else Operation("mmap", where)
                return layer.watch(
                    operation, lambda: super(Mapped, cls).__new__(cls, fileno, *args, **kwargs)
                )

        return Mapped
