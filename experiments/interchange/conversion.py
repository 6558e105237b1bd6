"""Conversion between formats: what a path holds, and what it is to become."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from ...envs.errors import UsageError
from ..datasets.dataset import Recording
from ..datasets.writer import MANIFEST, UNFINISHED
from ..runs.files import read_json
from ..runs.outputs import check_writable
from ..runs.provenance import command, provenance
from . import dopamine_checkpoints, hdf5_files, minari_datasets, minari_reader, npz_episodes
from .mp4_files import write_mp4
from .recorded_episodes import Episode, Source, mismatch, read_episode, spans_of
from .recording_writer import write_recording

Kind = Literal["own", "minari", "hdf5", "npz", "dopamine"]
Target = Literal["own", "minari", "hdf5", "mp4"]

SUFFIXES: dict[str, Target] = {".hdf5": "hdf5", ".h5": "hdf5", ".mp4": "mp4"}
READERS: dict[Kind, Callable[[Path, str, str], Source]] = {
    "minari": minari_reader.read_minari,
    "hdf5": hdf5_files.read_hdf5,
    "npz": npz_episodes.read_npz_episodes,
    "dopamine": dopamine_checkpoints.read_checkpoints,
}


def find_source(path: Path) -> tuple[Kind, Path]:
    """Return the format of what a path holds, and the path; an id of Minari is found in its folder.

    Raises UsageError for anything else.
    """
    if not path.exists():
        local = minari_datasets.datasets_root() / path
        if path.is_absolute() or ".." in path.parts or not local.is_dir():
            raise UsageError(f"There is no {path}; name a recording, or what is to become one.")
        path = local
    if (path / MANIFEST).exists() or (path / UNFINISHED).exists():
        return "own", path
    if (path / minari_datasets.DATA / minari_datasets.METADATA).exists():
        return "minari", path
    if path.is_file() and SUFFIXES.get(path.suffix) == "hdf5":
        return "hdf5", path
    if path.is_dir() and dopamine_checkpoints.checkpoint_numbers(path):
        return "dopamine", path
    if (path.is_file() and path.suffix == ".npz") or (path.is_dir() and any(path.glob("*.npz"))):
        return "npz", path
    raise UsageError(
        f"{path} is nothing that can be converted; name a recording, a dataset of Minari, an .hdf5 "
        "or .npz file, a folder of .npz files, or one of Dopamine's checkpoints."
    )


def find_target(path: Path, to: Target | None, kind: Kind) -> Target:
    """Return the format that a source of a kind is to have: as asked, or by the path's suffix.

    Raises UsageError if the path exists or cannot be written, or if the format is not known.
    """
    by_suffix = SUFFIXES.get(path.suffix)
    found = to or by_suffix or ("own" if kind != "own" else None)
    if found is None:
        raise UsageError(
            f"{path} does not say its format by its suffix; add --to minari, hdf5 or mp4."
        )
    if found == kind == "own":
        raise UsageError(f"The source is a recording already; copy the folder to {path}.")
    if by_suffix not in (None, found) or (found == "hdf5" and by_suffix is None):
        raise UsageError(
            f"{path} is no name for --to {found}; end it in .hdf5 for HDF5, in .mp4 for a film, "
            "and in no suffix for a folder."
        )
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists already; remove it, or name another target.")
    check_writable(path, remedy="name a target that can be written")
    if found == "minari":
        minari_datasets.require_minari()
        minari_datasets.root_and_id(path)
    return found


def read_source(kind: Kind, path: Path, name: str = "", axes: str = "") -> Source:
    """Return the episodes that a path of a kind holds.

    ``name`` is that of the env, and ``axes`` are those of a frame, where the format has none.
    Raises UsageError if they cannot be read.
    """
    if kind != "own":
        with _refusing_damage(path):
            source = READERS[kind](path, name, axes)
        return replace(source, episodes=_guarded(path, source))
    recording = Recording(path, cache_bytes=0)
    spans, num_envs = spans_of(recording), recording.manifest.num_envs
    return Source(
        replace(recording.manifest, shards=()),
        (read_episode(recording, span) for span in spans.all),
        provenance_of(path),
        spans.per_env(num_envs),
    )


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    """Turn any error of reading a file into a UsageError; h5py, Minari and numpy raise many."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        what = (str(error).splitlines() or [""])[0].rstrip(".")
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {what}).") from error


def _guarded(path: Path, source: Source) -> Iterator[Episode]:
    with _refusing_damage(path):
        for number, episode in enumerate(source.episodes):
            if wrong := mismatch(episode, source.manifest):
                raise UsageError(f"{path} is damaged: in its episode {number}, {wrong}.")
            yield episode


def provenance_of(folder: Path) -> dict[str, Any]:
    """Return how a recording was made; empty if its manifest does not say so."""
    found = read_json(folder / MANIFEST).get("provenance", {})
    return found if isinstance(found, dict) else {}


def convert(
    source: Source,
    path: Path,
    target: Target,
    show: Callable[[int], object] = lambda done: None,
    *,
    episodes: int = 0,
    frames_per_second: int = 15,
) -> None:
    """Write episodes to a path in another format; nothing is left of what is not completed.

    ``episodes`` and ``frames_per_second`` are for films. ``show`` is called with the number of
    frames so far.
    """
    if target == "minari":
        minari_datasets.write_minari(path, source, show)
    elif target == "hdf5":
        hdf5_files.write_hdf5(path, source, show)
    elif target == "mp4":
        write_mp4(path, source, show, episodes=episodes, frames_per_second=frames_per_second)
    else:
        own = source.provenance or provenance(torch.device("cpu"), torch.get_num_threads())
        write_recording(path, source, own | {"converted_by": command()}, show)
