"""Minari's datasets as episodes, read by Minari; its file is checked before."""

import zlib
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..runs.files import read_json
from .array_checks import (
    MAX_ACTIONS,
    MAX_COLUMN_BYTES,
    check_size,
    frame_axes,
    frame_shape,
    to_actions,
    to_frames,
    to_rewards,
)
from .foreign_manifest import foreign_manifest
from .hdf5_access import open_hdf5
from .minari_datasets import DATA, MAIN, METADATA, require_minari
from .recorded_episodes import Episode, Source
from .recording_header import MAX_BYTES, Header, read_header

Array = NDArray[Any]


def read_minari(path: Path, name: str = "", axes: str = "") -> Source:
    """Return the episodes of a dataset in a folder, of an env called ``name``, by default as it.

    Raises UsageError for a dataset that is not stored in HDF5, or has other observations and
    actions than images and indices.
    """
    require_minari()
    metadata_file = path / DATA / METADATA
    if metadata_file.stat().st_size > MAX_BYTES:
        raise UsageError(f"{metadata_file} is larger than {MAX_BYTES:,} bytes.")
    metadata = read_json(metadata_file)
    if metadata.get("data_format") != "hdf5":
        raise UsageError(
            f"{path} is stored as {metadata.get('data_format')}, and Minari's datasets are read "
            "from hdf5; write it again by minari with data_format='hdf5'."
        )
    if not all(isinstance(metadata.get(x), str) for x in ("observation_space", "action_space")):
        # Minari would make the env that it names, whose code is not to be run.
        raise UsageError(f"{path} does not describe its spaces; write it again by minari.")
    from gymnasium.spaces import Box, Discrete
    from minari.dataset.minari_dataset import MinariDataset

    dataset = MinariDataset(path / DATA)
    space, actions = dataset.observation_space, dataset.action_space
    if not isinstance(space, Box) or not isinstance(actions, Discrete):
        raise UsageError(
            f"{path} has observations {type(space).__name__} and actions {type(actions).__name__}; "
            "recordings have images (a Box) and indices (Discrete)."
        )
    if actions.n > MAX_ACTIONS:
        raise UsageError(f"{path} has {actions.n} actions; at most {MAX_ACTIONS} are read.")
    own = metadata.get("reverie")
    axes = frame_axes(f"The space of {path}", space.shape, space.dtype, "CHW" if own else axes)
    shape = frame_shape(space.shape, axes)
    _check_sizes(path, dataset.total_episodes, space)
    if own:
        header = read_header(path, str(own["header"]), shape, 1)
        episodes = _own_episodes(path, dataset, header, own["frames"], axes)
        return Source(header.manifest, episodes, header.provenance, header.per_env)
    manifest = foreign_manifest(
        name or str(metadata["dataset_id"]), int(actions.n), shape, f"the Minari dataset {path}",
        str(metadata.get("algorithm_name", "unknown")),
    )  # fmt: skip
    return Source(manifest, _foreign_episodes(path, dataset, axes), {})


def _check_sizes(path: Path, num_episodes: int, space: Any) -> None:
    """Raise UsageError for an array that is too large, also once its JPEGs are decoded."""
    with open_hdf5(path / DATA / MAIN) as file:
        for episode in map(str, file):
            group = file[episode]
            steps = len(group["rewards"])
            check_size(f"{episode} of {path}", (steps + 1, *space.shape), space.dtype, frames=True)
            for each in ("rewards", "actions", "terminations", "truncations"):
                check_size(f"{each} of {path}", group[each].shape, group[each].dtype)
            if "infos" in group:
                group["infos"].visititems(partial(_check_info, path))
            frames = group["observations"]
            raw = frames.ndim == 1 + len(space.shape)
            if len(frames) != steps + 1 or (raw and frames.shape[1:] != space.shape):
                raise UsageError(
                    f"{path} has {len(frames)} frames in {episode} of {steps} actions."
                )
        if len(file) < num_episodes:
            raise UsageError(f"{path} has {len(file)} of its {num_episodes} episodes.")


def _check_info(path: Path, name: str, item: Any) -> None:
    if hasattr(item, "dtype") and item.size * item.dtype.itemsize > MAX_COLUMN_BYTES:
        raise UsageError(f"{path} has infos/{name} of more than {MAX_COLUMN_BYTES:,} bytes.")


def _own_episodes(
    path: Path, dataset: Any, header: Header, single_frames: dict[str, str], axes: str
) -> Iterator[Episode]:
    """Yield the episodes of a dataset that was written from a recording."""
    episodes = iter(dataset.iterate_episodes())
    for number in count():
        ended = number not in header.unfinished
        if (single := single_frames.get(str(number))) is not None:
            yield replace(_unpacked(path, single, header), ended=ended)
        elif (found := next(episodes, None)) is None:
            return
        else:
            infos = found.infos["reverie"]
            state = infos.get("privileged")
            if (state is None) == bool(header.manifest.privileged):
                raise UsageError(f"{path} is damaged: its true states are not as its header says.")
            yield Episode(
                to_frames(found.observations, axes),
                np.asarray(infos["action"], np.int64),
                to_rewards(f"rewards of {path}", found.rewards),
                np.asarray(infos["discount"][:-1], np.float32),
                ended,
                state,
            )


def _foreign_episodes(path: Path, dataset: Any, axes: str) -> Iterator[Episode]:
    start = int(dataset.action_space.start)
    for found in dataset.iterate_episodes():
        discount = np.ones(len(found.rewards), np.float32)
        discount[-1:] = not found.terminations[-1]
        yield Episode(
            to_frames(np.asarray(found.observations), axes),
            np.append(to_actions(f"actions of {path}", np.asarray(found.actions) - start), 0),
            to_rewards(f"rewards of {path}", np.asarray(found.rewards)),
            discount,
        )


def _unpacked(path: Path, text: str, header: Header) -> Episode:
    shape, num_bytes = header.manifest.frame_shape, len(header.manifest.privileged)
    size = int(np.prod(shape))
    data = zlib.decompressobj().decompress(b64decode(text), 8 + size + num_bytes + 1)
    if len(data) != 8 + size + num_bytes:
        raise UsageError(f"{path} is damaged: a single frame has {len(data)} bytes.")
    state = np.frombuffer(data, np.uint8, offset=8 + size)[None] if num_bytes else None
    return Episode(
        np.frombuffer(data, np.uint8, size, 8).reshape(1, *shape),
        np.frombuffer(data, "<i8", 1).astype(np.int64),
        np.zeros(0),
        np.zeros(0, np.float32),
        privileged=state,
    )
