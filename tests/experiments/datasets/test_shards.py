"""Shards from elsewhere are checked before they are unpacked."""

import json
import shutil
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.envs.errors import UsageError
from reverie.experiments.cli.main import main
from reverie.experiments.datasets.dataset import Recording

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "data"
    command = f"collect random env:catch --frames 100 --num-envs 2 --folder {folder}"
    assert main(command.split()) == 0
    return folder


CHANGES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "negative actions": ("action", lambda x: -x.astype(np.int64) - 1),
    "actions that are fractions": ("action", lambda x: x + 0.5),
    "too few rows": ("reward", lambda x: x[1:]),
    "another shape": ("last", lambda x: x[:, None]),
    "rewards that are nan": ("reward", lambda x: np.full_like(x, np.nan)),
    "texts": ("first", lambda x: x.astype("U3")),
    "no first frame": ("first", np.zeros_like),
    "frames that go back": ("ends", lambda x: x[::-1]),
    "frames past the file": ("ends", lambda x: x + 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_odd_columns_are_refused(change: str, data: Path, tmp_path: Path) -> None:
    folder, (name, function) = tmp_path / "data", CHANGES[change]
    shutil.copytree(data, folder)
    with np.load(folder / "00000.npz") as archive:
        columns = dict(archive)
    np.savez(folder / "00000.npz", **columns | {name: function(columns[name])})
    with pytest.raises(UsageError, match="record it again"):
        Recording(folder)


def test_bombs_are_not_unpacked(data: Path, tmp_path: Path) -> None:
    size = 200_000_000
    columns, frames = tmp_path / "columns", tmp_path / "frames"
    for folder in (columns, frames):
        shutil.copytree(data, folder)
    with np.load(columns / "00000.npz") as archive:
        arrays = dict(archive)
    with zipfile.ZipFile(columns / "00000.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name in arrays:
            file.writestr(f"{name}.npy", bytes(size) if name == "action" else b"")
    bomb = zlib.compress(bytes(size))
    ends = np.cumsum([len(bomb), *[8] * (len(arrays["ends"]) - 1)])
    (frames / "00000.frames").write_bytes(bomb + bytes(int(ends[-1]) - len(bomb)))
    np.savez(frames / "00000.npz", **arrays | {"ends": ends})
    manifest = json.loads((frames / "manifest.json").read_text())
    manifest["shards"][0][1] = int(ends[-1])
    (frames / "manifest.json").write_text(json.dumps(manifest))
    tracemalloc.start()
    with pytest.raises(UsageError, match="action is larger than"):
        Recording(columns)
    recording = Recording(frames)
    with pytest.raises(UsageError, match="is damaged"):
        recording.frames(torch.tensor([0]))
    assert tracemalloc.get_traced_memory()[1] < size / 4
    tracemalloc.stop()
