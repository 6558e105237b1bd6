"""Shards of recordings, which may come from elsewhere: their columns, checked and in bounds."""

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..runs.files import open_own
from .writer import Manifest

MIN_BLOB_BYTES = 8
"""Bytes of the smallest zlib data."""
MAX_ROWS = 1 << 21
"""Greatest number of rows of a shard."""
HEADER_BYTES = 1 << 10
"""Greatest length of a column's header in its file."""
MAX_REWARD = 1e30
"""Bound of the magnitude of rewards, whose squares are finite."""
KINDS = {
    "ends": "iu", "action": "iu", "reward": "fiu", "discount": "fiu", "first": "b", "last": "b",
    "privileged": "u",
}  # fmt: skip
"""Kinds of numpy's types that a column may have."""
SIZES = {"privileged": 1}
"""Greatest bytes of an item of a column; 8 for others."""

Columns = dict[str, NDArray[Any]]


def read_shard(
    folder: Path, index: int, manifest: Manifest
) -> tuple[Columns, NDArray[np.int64], NDArray[np.uint8]]:
    """Return a shard's columns, the ends of its frames in bytes, and these bytes, left on disk.

    No more is unpacked than the manifest declares, which the file of frames must have. Raises
    UsageError for a shard that is missing, truncated, or anything else than what its manifest says.
    """
    stem, (num_rows, size) = folder / f"{index:05d}", manifest.shards[index]
    path = stem.with_suffix(".frames")
    try:
        with open_own(path, "rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                raise UsageError(
                    f"The shard {path} is truncated: its manifest lists {num_rows} frames in "
                    f"{size} bytes; record it again."
                )
            if not 1 <= num_rows <= min(MAX_ROWS, size // MIN_BLOB_BYTES):
                raise ValueError(f"{size} bytes cannot hold {num_rows} frames")
            blobs = np.memmap(file, np.uint8, "r")
        with open_own(stem.with_suffix(".npz"), "rb") as file:
            columns = _columns(file, num_rows, manifest)
        ends = columns.pop("ends").astype(np.int64)
        if np.diff(ends, prepend=0).min() < MIN_BLOB_BYTES or ends[-1] != size:
            raise ValueError("its frames do not follow each other")
        _check_values(columns, manifest)
    except UsageError:
        raise
    except Exception as error:  # numpy raises many kinds for a damaged archive
        raise UsageError(
            f"The shard {stem} is truncated or missing ({error}); record it again."
        ) from error
    columns["action"] = columns["action"].astype(np.int64)
    for name in ("reward", "discount"):
        column = columns[name]
        columns[name] = column.astype(np.float64 if column.dtype == np.float64 else np.float32)
    return columns, ends, blobs


def unpack_frame(data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a frame of this shape; raises ValueError for data that are damaged or of another."""
    size = math.prod(shape)
    try:
        pixels = zlib.decompressobj().decompress(data.data, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _columns(file: BinaryIO, num_rows: int, manifest: Manifest) -> Columns:
    """Return the columns of a file, if they have the declared shapes and types."""
    names = ("ends", *manifest.columns)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (num_rows,))
    if manifest.privileged:
        shapes["privileged"] = (num_rows, len(manifest.privileged))
    with zipfile.ZipFile(file) as archive:
        sizes = {x.filename: x.file_size for x in archive.infolist()}
    for name, shape in shapes.items():
        if sizes.get(f"{name}.npy", 0) > 8 * math.prod(shape) + HEADER_BYTES:
            raise ValueError(f"{name} is larger than {num_rows} rows")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        columns = {name: archive[name] for name in names}
    for name, column in columns.items():
        right = column.dtype.kind in KINDS[name] and column.dtype.itemsize <= SIZES.get(name, 8)
        if column.shape != shapes[name] or not right:
            raise ValueError(f"{name} is {column.dtype} of the shape {column.shape}")
    return columns


def _check_values(columns: Columns, manifest: Manifest) -> None:
    """Raise ValueError, which names the column, for values that no env has."""
    ranges = {
        "action": (0, manifest.num_actions - 1),
        "reward": (-MAX_REWARD, MAX_REWARD),
        "discount": (0, 1),
    }
    for name, (least, most) in ranges.items():
        column = columns[name]
        if not (column.min() >= least and column.max() <= most):  # nan is in no range
            raise ValueError(
                f"{name} is from {column.min()} to {column.max()}; it must be in {least}..{most}"
            )
