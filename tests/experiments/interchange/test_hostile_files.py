"""Files from elsewhere: sizes are bounded before allocation, and nothing else is read or run."""

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.datasets.collect import collect
from reverie.experiments.interchange import array_checks
from reverie.experiments.interchange.conversion import convert, find_source, read_source

COLUMNS = {
    "actions": np.zeros(6, np.int64),
    "rewards": np.zeros(6),
    "terminals": np.zeros(6, np.bool_),
}
FRAMES = np.zeros((6, 1, 4, 4), np.uint8)


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(path: str, message: str) -> None:
    """Check that a file is refused, and that nothing is left of the conversion."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError, match=message):
        convert(read_source(*find_source(Path(path))), Path("back"), "own")
    assert sorted(Path().rglob("*")) == before


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    """Return an array in numpy's format that declares a shape, whatever data follow."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def write_npz(path: str, **arrays: bytes | np.ndarray[Any, Any]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            if not isinstance(array, bytes):
                file = io.BytesIO()
                np.save(file, array)
                array = file.getvalue()
            archive.writestr(f"{name}.npy", array)


EPISODE: dict[str, Any] = {
    "image": np.zeros((6, 4, 4, 1), np.uint8),
    "action": np.zeros(6, np.int64),
    "reward": np.zeros(6),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": npy((10**9, 64, 64, 3))}, "has 12,288,000,000,000 bytes, and at most"),
        ({"image": npy((6, 10**6, 10**6, 3))}, "bytes, and at most"),
        ({"action": npy((10**12,))}, "bytes, and at most"),
        ({"image": npy((6, 4, 4, 1), data=b"\0" * 90)}, "image of e.npz is truncated"),
        ({"action": npy((6,), "|O", b"cos\nsystem\n(S'false'\ntR.")}, "has the type object"),
        ({"action": np.zeros(6, "S9")}, "has the type |S9"),
        ({"action": np.zeros(7, np.int64)}, "arrays of different lengths"),
        ({"action": b"no array"}, "e.npz is damaged"),
        ({"image": np.zeros((0, 4, 4, 1), np.uint8), "action": np.zeros(0, np.int64),
          "reward": np.zeros(0)}, "has no frame"),
        ({"reward": np.array([np.nan] * 6)}, "must be a finite number per step"),
        ({"reward": np.array(1.0)}, "is a single number"),
        ({"image": np.zeros((6, 4, 4), np.float32)}, "images of uint8"),
        ({"image": np.asfortranarray(np.zeros((6, 4, 4), np.uint8))}, "is stored by columns"),
    ],
)  # fmt: skip
def test_arrays_of_numpy(arrays: dict[str, Any], message: str) -> None:
    write_npz("e.npz", **{**EPISODE, **arrays})
    refused("e.npz", message)


def test_files_of_numpy_that_are_cut_or_lack_arrays() -> None:
    write_npz("e.npz", **EPISODE)
    data = Path("e.npz").read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        Path("e.npz").write_bytes(data[:cut])
        refused("e.npz", "e.npz is damaged")
    write_npz("e.npz", image=EPISODE["image"])
    refused("e.npz", "has no array action; it must have image, action and reward")


def test_what_a_file_unpacks_to_is_not_read_beyond_its_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zeros = bytes(1 << 24)
    monkeypatch.setattr(array_checks, "MAX_COLUMN_BYTES", 1 << 16)
    write_npz("e.npz", **{**EPISODE, "action": npy((6,), "<i8", bytes(48) + zeros)})
    source = read_source(*find_source(Path("e.npz")))
    assert len(list(source.episodes)) == 1
    Path("logs").mkdir()
    for name in ("observation", "action", "reward", "terminal"):
        with gzip.open(f"logs/$store$_{name}_ckpt.0.gz", "wb") as file:
            file.write(npy((1 << 17,), "<i8", zeros))
    refused("logs", "bytes, and at most 65,536 are read at once")


def write_hdf5(path: str, **arrays: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, array in {"observations": FRAMES, **COLUMNS, **arrays}.items():
            file[name] = array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/x")), "has the link //x"),
        (lambda f: f.__setitem__("x", h5py.SoftLink("/actions")), "links are not followed"),
        (lambda f: f.create_dataset("x", (6,), "u1", external=[("/etc/passwd", 0, 6)]),
         "stores /x in other files"),
        (lambda f: f.create_virtual_dataset("x", _virtual()), "stores /x in other files"),
        (lambda f: f.create_dataset("timeouts", (10**11,), "u1", chunks=(64,)), "at most"),
        (lambda f: f.create_dataset("timeouts", (7,), "u1"), "arrays of different lengths"),
        (lambda f: f.create_dataset("next_observations", (6, 5, 5), "u1"), "not as its observ"),
        (lambda f: f.__setitem__("header", "{}"), "header of e.hdf5 is damaged"),
        (lambda f: f.__setitem__("header", np.zeros(9)), "header of e.hdf5 is damaged"),
    ],
)  # fmt: skip
def test_files_of_hdf5(change: Callable[[Any], Any], message: str) -> None:
    write_hdf5("e.hdf5")
    with h5py.File("e.hdf5", "a") as file:
        change(file)
    refused("e.hdf5", message)


def _virtual() -> Any:
    layout = h5py.VirtualLayout((6,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6,))
    return layout


def test_an_episode_of_hdf5_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_checks, "MAX_EPISODE_BYTES", 90)
    write_hdf5("e.hdf5")
    refused("e.hdf5", "observations of e.hdf5 has 96 bytes, and at most 90 are read at once")


def test_files_of_hdf5_that_are_cut_or_lack_arrays() -> None:
    write_hdf5("e.hdf5", x=np.random.default_rng(0).integers(0, 9, 9999))
    data = Path("e.hdf5").read_bytes()
    for cut in (0, 10, len(data) // 2):
        Path("e.hdf5").write_bytes(data[:cut])
        refused("e.hdf5", "e.hdf5 is damaged")
    with h5py.File("e.hdf5", "w") as file:
        file["observations"] = FRAMES
    refused("e.hdf5", "has no array actions; it must have those of D4RL")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_headers_of_a_recording_that_do_not_fit() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=60, num_envs=2)
    convert(read_source("own", Path("data")), Path("whole.hdf5"), "hdf5")

    def change(**changes: Any) -> None:
        shutil.copy("whole.hdf5", "e.hdf5")
        with h5py.File("e.hdf5", "a") as file:
            header = json.loads(bytes(file["header"][()]))
            manifest = {x: y for x, y in changes.items() if x in header["manifest"]}
            header["manifest"] |= manifest
            header |= {x: y for x, y in changes.items() if x in header}
            del file["header"]
            file["header"] = json.dumps(header)
            for name in changes.keys() & {"episode_lengths"}:
                shape = file[name].shape
                del file[name]
                file[name] = np.full(shape, changes[name])

    for changes, message in (
        ({"frame_shape": [1, 5, 10]}, "but its header lists"),
        ({"num_actions": 2}, "but its header lists"),
        ({"env": {"class": "os:system"}}, "cannot be read"),
        ({"imports": ["subprocess_of_mine"]}, "add --import subprocess_of_mine"),
        ({"episodes_per_env": [-1, 99]}, "header of e.hdf5 is damaged"),
        ({"privileged": ["a"]}, "its arrays are not of its episodes"),
        ({"format": 1}, "has format 1"),
        ({"episode_lengths": -1}, "its arrays are not of its episodes"),
        ({"episode_lengths": np.nan}, "its arrays are not of its episodes"),
        ({"episode_lengths": 2**40}, "its arrays are not of its episodes"),
    ):
        change(**changes)
        refused("e.hdf5", message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_space": None}, "does not describe its spaces"),
        ({"data_format": "arrow"}, "is stored as arrow"),
        ({"minari_version": "99"}, "is damaged .ValueError: The installed Minari version"),
        ({"action_space": '{"type": "Discrete", "n": 99999999, "start": 0}'}, "at most 65536 are"),
        ({"action_space": '{"type": "Box"}'}, "is damaged"),
        ({"observation_space": '{"type": "Discrete", "n": 9, "start": 0}'}, "observations Discr"),
        ({"reverie": {"header": "{", "frames": {}}}, "header of m-v0 is damaged"),
        ({"reverie": {"header": 1}}, "header of m-v0 is damaged"),
        ({"reverie": 5}, "is damaged .TypeError"),
    ],
)
def test_datasets_of_minari(changes: dict[str, Any], message: str) -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=60, num_envs=2)
    convert(read_source("own", Path("data")), Path("m-v0"), "minari")
    path = Path("m-v0/data/metadata.json")
    metadata = json.loads(path.read_text()) | {
        # Minari would make this env for a space that is not described.
        "env_spec": EnvSpec("x-v0", entry_point="os:system").to_json(),
    }
    path.write_text(json.dumps(metadata | changes))
    refused("m-v0", message)


def test_frames_of_minari_that_are_linked_or_of_another_shape() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=60, num_envs=2)
    for episode, message in (
        (h5py.ExternalLink("/etc/passwd", "/x"), "has the link //episode_1"),
        (np.zeros((9, 1, 10, 4), np.uint8), "frames in episode_1 of"),
    ):
        shutil.rmtree("m-v0", ignore_errors=True)
        convert(read_source("own", Path("data")), Path("m-v0"), "minari")
        with h5py.File("m-v0/data/main_data.hdf5", "a") as file:
            name = (
                "episode_1" if isinstance(episode, h5py.ExternalLink) else "episode_1/observations"
            )
            del file[name]
            file[name] = episode
        refused("m-v0", message)
