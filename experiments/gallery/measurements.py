"""The measurements of a density in its run folder: cells in a JSON file, pictures in one of numpy.

What is not as it was written counts as missing, so that it is measured again.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..interchange.numpy_files import read_npz
from ..runs.files import read_json, replacing, write_json
from ..runs.jsonl import is_number

CELLS, PICTURES = "measurements.json", "pictures.npz"
KINDS = {np.dtype(name) for name in ("uint8", "float32", "float64")}
"""Types of pictures: symbols, images and nats."""

Cells = dict[str, dict[str, Any] | None]
Pictures = dict[str, NDArray[Any]]


def read_cells(folder: Path) -> tuple[dict[str, Any], Cells]:
    """Return what the cells were measured of, and the cells by column, None for an empty one."""
    try:
        about = read_json(folder / CELLS)
    except UsageError:
        return {}, {}
    cells = about.pop("cells", None)
    found = cells.items() if isinstance(cells, dict) else ()
    return about, {name: cell for name, cell in found if cell is None or _is_cell(cell)}


def read_pictures(folder: Path, shape: tuple[int, int], levels: int) -> Pictures:
    """Return the pictures by name, of frames of this shape with symbols below ``levels``."""
    try:
        found = read_npz(folder / PICTURES)
    except (UsageError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError):
        return {}
    return {name: x for name, x in found.items() if _is_picture(x, shape, levels)}


def write_measurements(
    folder: Path, about: Mapping[str, Any], cells: Cells, pictures: Pictures
) -> None:
    """Replace the files of cells and pictures."""
    with replacing(folder / PICTURES) as file:
        np.savez_compressed(file, allow_pickle=False, **pictures)
    write_json(folder / CELLS, {**about, "cells": cells})


def _is_cell(cell: Any) -> bool:
    """Return whether a cell has a text or a failure, and numbers where they are read."""
    if not isinstance(cell, dict) or not {"shown", "error"} & cell.keys():
        return False
    log_probs = cell.get("log_probs", [0])
    return (
        all(isinstance(cell.get(name, ""), str) for name in ("shown", "error"))
        and is_number(cell.get("minutes", 0 if "shown" in cell else None))
        and isinstance(log_probs, list)
        and bool(log_probs)
        and all(map(is_number, log_probs))
    )


def _is_picture(x: NDArray[Any], shape: tuple[int, int], levels: int) -> bool:
    """Return whether an array is frames of symbols, nats of their pixels, or images."""
    if x.dtype not in KINDS or x.shape[1:3] != shape or not x.size:
        return False
    if x.ndim == 4:
        return x.dtype == np.uint8 and x.shape[3] == 3
    valid = x < levels if x.dtype == np.uint8 else np.isfinite(x)
    return x.ndim == 3 and bool(valid.all())
