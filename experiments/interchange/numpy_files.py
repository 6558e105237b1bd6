"""Arrays in files of numpy: described by their headers, and read without pickles and in bounds."""

import gzip
import zipfile
from collections.abc import Callable, Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..runs.files import open_own
from .array_checks import check_size

Array = NDArray[Any]
T = TypeVar("T")


class ArrayReader:
    """An array in a file of numpy's format, read some rows after the others."""

    def __init__(self, where: str, file: BufferedIOBase) -> None:
        """Read the header; raises UsageError for objects and for arrays in Fortran's order."""
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of numpy's format")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        self.shape, fortran_order, self.dtype = read(file)
        self.where, self._file = where, file
        check_size(where, self.shape[1:], self.dtype)
        if fortran_order:
            raise UsageError(f"{where} is stored by columns; save np.ascontiguousarray of it.")
        self.position = 0
        """Row that is read next."""

    def read(self, count: int) -> Array:
        """Return the next rows; raises UsageError if they are too large or the file is cut."""
        frames = len(self.shape) > 2
        check_size(self.where, (count, *self.shape[1:]), self.dtype, frames=frames)
        size = count * int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        data = bytearray()
        while len(data) < size and (part := self._file.read(min(size - len(data), 1 << 24))):
            data += part
        if len(data) < size:
            raise UsageError(f"{self.where} is truncated; copy it again.")
        self.position += count
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def read_scalar(self) -> float:
        """Return the number of an array of one."""
        if int(np.prod(self.shape)) != 1:
            raise UsageError(f"{self.where} has the shape {self.shape}; it must be one number.")
        size = self.dtype.itemsize
        return float(np.frombuffer(self._file.read(size).ljust(size, b"\0"), self.dtype)[0])

    def read_all(self) -> Array:
        """Return the whole array."""
        if not self.shape:
            raise UsageError(f"{self.where} is a single number, and one per step is needed.")
        return self.read(self.shape[0])


def read_npz(path: Path, names: Sequence[str] = ()) -> dict[str, Array]:
    """Return those of these arrays that a file has, or all.

    No more bytes are read of an array than its header declares, whatever the file would unpack to.
    Raises UsageError if an array is too large or holds objects, OSError for a link and other files
    that are not regular, and others for a damaged file.
    """
    with open_own(path, "rb") as raw, zipfile.ZipFile(raw) as archive:
        found = {x.filename.removesuffix(".npy"): x for x in archive.infolist()}
        arrays = {}
        for name in (x for x in names or found if x in found):
            with archive.open(found[name]) as file:
                assert isinstance(file, BufferedIOBase)
                arrays[name] = ArrayReader(f"{name} of {path}", file).read_all()
        return arrays


def with_gzip(path: Path, use: Callable[[ArrayReader], Iterator[T]]) -> Iterator[T]:
    """Yield what ``use`` yields of the array in a compressed .npy file, which is no link."""
    with open_own(path, "rb") as raw, gzip.open(raw) as file:
        yield from use(ArrayReader(str(path), file))


def read_gzip(path: Path) -> Array:
    """Return the array in a compressed .npy file; raises UsageError if it is too large."""
    (array,) = with_gzip(path, lambda reader: iter([reader.read_all()]))
    return array
