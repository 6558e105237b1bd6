"""Measurements in files that somebody else may have written: what is wrong is measured again."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reverie.experiments.gallery.measurements import (
    CELLS,
    PICTURES,
    read_cells,
    read_pictures,
    write_measurements,
)

SHAPE, LEVELS = (4, 3), 8
WHOLE: dict[str, Any] = {
    "bits/pixel": {"shown": "1.5", "log_probs": [-3.0, -4.5]},
    "samples": {"error": "It took long.", "minutes": 2.0},
    "probe": None,
}
DRAWN: dict[str, Any] = {
    "held-out": np.full((1, *SHAPE), LEVELS - 1, np.uint8),
    "surprise": np.ones((1, *SHAPE), np.float32),
    "noisy": np.zeros((1, *SHAPE, 3), np.uint8),
}


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write_measurements(tmp_path, {"step": 3}, WHOLE, DRAWN)
    assert read_cells(tmp_path) == ({"step": 3}, WHOLE)
    found = read_pictures(tmp_path, SHAPE, LEVELS)
    assert found.keys() == DRAWN.keys()
    assert all(np.array_equal(found[name], DRAWN[name]) for name in DRAWN)


@pytest.mark.parametrize(
    "cell",
    [
        {}, [], 1, {"shown": 1}, {"error": "x"}, {"error": "x", "minutes": "2"}, {"x": 1},
        {"shown": "1", "log_probs": []}, {"shown": "1", "log_probs": ["x"]},
        {"shown": "1", "log_probs": 1}, {"shown": "1", "minutes": "x"}, {"shown": ["x"]},
    ],
)  # fmt: skip
def test_a_cell_without_its_text_or_numbers_counts_as_missing(cell: Any, tmp_path: Path) -> None:
    write_measurements(tmp_path, {}, WHOLE | {"wrong": cell}, DRAWN)
    assert read_cells(tmp_path)[1] == WHOLE
    for content in ("", "{", "[]", '{"cells": 3}', '{"cells": [1]}'):
        (tmp_path / CELLS).write_text(content)
        assert read_cells(tmp_path)[1] == {}


@pytest.mark.parametrize(
    "array",
    [
        np.full((1, *SHAPE), LEVELS, np.uint8), np.zeros((1, 3, 4), np.uint8),
        np.full((1, *SHAPE), np.nan), np.zeros((0, *SHAPE), np.uint8),
        np.zeros((1, *SHAPE, 3)), np.zeros((1, *SHAPE, 4), np.uint8), np.zeros((1, *SHAPE), bool),
    ],
)  # fmt: skip
def test_a_picture_of_another_shape_or_kind_is_left_out(array: Any, tmp_path: Path) -> None:
    write_measurements(tmp_path, {}, WHOLE, {**DRAWN, "wrong": array})
    assert read_pictures(tmp_path, SHAPE, LEVELS).keys() == DRAWN.keys()


def test_a_file_of_pictures_that_is_no_such_file_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / PICTURES
    np.savez(path, evil=np.array([{}], dtype=object), held=DRAWN["held-out"])
    assert read_pictures(tmp_path, SHAPE, LEVELS) == {}
    for place in (
        lambda: path.write_bytes(b"PK\x03\x04"),
        lambda: path.write_text(json.dumps({})),
        lambda: path.symlink_to(tmp_path / CELLS),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: None,
    ):
        path.unlink(missing_ok=True)
        place()
        assert read_pictures(tmp_path, SHAPE, LEVELS) == {}
        if path.is_dir():
            path.rmdir()
