"""HDF5 files as they may be read from anywhere: nothing outside the file, no object, no code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..runs.files import open_own

MAX_DEPTH = 8
"""Greatest depth of groups."""


def require_h5py() -> Any:
    """Return the module h5py; raises UsageError if it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"HDF5 files need the package h5py ({error}); run `pip install 'reverie[data]'`."
        ) from error
    return h5py


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading, after its links and its storage are checked.

    Raises UsageError if it refers to other files, and OSError if it is a link, or no HDF5 file.
    """
    h5py = require_h5py()
    open_own(path, "rb").close()  # h5py would wait for a pipe
    with h5py.File(path, "r") as file:
        _check_group(h5py, path, file, 0)
        yield file


def _check_group(h5py: Any, path: Path, group: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UsageError(f"{path} has groups nested deeper than {MAX_DEPTH}, which are not read.")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise UsageError(
                f"{path} has the link {group.name}/{name} to another place, and links are not "
                "followed; copy what it leads to."
            )
        found = group[name]
        if isinstance(found, h5py.Group):
            _check_group(h5py, path, found, depth + 1)
        elif isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
            raise UsageError(
                f"{path} stores {found.name} in other files, which are not read; copy it into one."
            )
