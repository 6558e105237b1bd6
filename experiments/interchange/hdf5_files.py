"""HDF5 files with the arrays of D4RL (Fu et al. 2020): transitions in order, one row each.

A row of ``observations``, ``actions``, ``rewards``, ``terminals`` and ``timeouts`` is one action:
the frame before it, and its results. What D4RL has no array for, a recording adds: ``discounts``,
``privileged``, and of every episode its ``episode_lengths``, its ``final_observations``,
``final_actions`` and ``final_privileged``, and ``header``, the recording's manifest as JSON.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from .array_checks import (
    check_size,
    frame_axes,
    frame_shape,
    require_length,
    to_actions,
    to_frames,
    to_rewards,
)
from .aside import writing_aside
from .foreign_manifest import foreign_manifest
from .hdf5_access import open_hdf5, require_h5py
from .recorded_episodes import Episode, Source
from .recording_header import Header, header_text, read_header

Array = NDArray[Any]

ROW_ARRAYS = ("actions", "rewards", "terminals", "timeouts", "discounts")
"""Arrays beside the observations with a row for each transition."""


def write_hdf5(path: Path, source: Source, show: Callable[[int], object]) -> None:
    """Write episodes to a file, which has its name only when it is complete."""
    h5py = require_h5py()
    with writing_aside(path) as aside, h5py.File(aside, "w") as file:
        arrays: dict[str, Any] = {}

        def append(name: str, x: Array) -> None:
            if name not in arrays:
                frames = x.ndim > 2
                chunk = max(1, (1 << 18) // max(1, x[:1].nbytes)) if frames else 4096
                arrays[name] = file.create_dataset(
                    name, (0, *x.shape[1:]), x.dtype, maxshape=(None, *x.shape[1:]),
                    chunks=(chunk, *x.shape[1:]), compression="gzip", compression_opts=1,
                )  # fmt: skip
            array = arrays[name]
            array.resize(len(array) + len(x), 0)
            array[len(array) - len(x) :] = x

        unfinished, done = list[int](), 0
        for number, episode in enumerate(source.episodes):
            for name, x in _arrays_of(episode).items():
                append(name, x)
            unfinished += [] if episode.ended else [number]
            done += len(episode.action)
            show(done)
        if not done:
            raise UsageError("There is no episode to convert.")
        file["header"] = header_text(source, unfinished, path.parent)
        file.attrs["env_name"] = source.manifest.env.env_name
        file.attrs["num_actions"] = source.manifest.num_actions


def _arrays_of(episode: Episode) -> dict[str, Array]:
    """Return what an episode adds to every array of a file."""
    end = np.zeros((2, len(episode.reward)), np.bool_)
    end[0 if episode.terminated else 1, -1:] = True
    arrays: dict[str, Array] = {
        "observations": episode.frames[:-1],
        "actions": episode.action[:-1],
        "rewards": episode.reward,
        "terminals": end[0],
        "timeouts": end[1],
        "discounts": episode.discount,
        "episode_lengths": np.array([len(episode.reward)]),
        "final_observations": episode.frames[-1:],
        "final_actions": episode.action[-1:],
    }
    if episode.privileged is not None:
        arrays["privileged"] = episode.privileged[:-1]
        arrays["final_privileged"] = episode.privileged[-1:]
    return arrays


def read_hdf5(path: Path, name: str = "", axes: str = "") -> Source:
    """Return the episodes of a file of a recording, or of one with the arrays of D4RL.

    Of an env called ``name``, by default as the file. Without ``next_observations`` D4RL has no
    frame after an episode's last action: a time-out then ends the episode one action earlier, and a
    termination repeats the last frame. Raises UsageError for arrays that are missing, too large or
    no images and indices.
    """
    with open_hdf5(path.resolve()) as file:
        missing = [x for x in ("observations", "actions", "rewards", "terminals") if x not in file]
        if missing:
            raise UsageError(
                f"{path} has no array {missing[0]}; it must have those of D4RL: observations, "
                "actions, rewards, terminals and, if there are any, timeouts."
            )
        frames = file["observations"]
        axes = "CHW" if "header" in file else axes
        axes = frame_axes(f"observations of {path}", frames.shape[1:], frames.dtype, axes)
        columns = {x: _read(path, file, x) for x in ROW_ARRAYS if x in file}
        require_length(path, {x: len(file[x]) for x in ("observations", *columns)})
        actions = to_actions(f"actions of {path}", columns["actions"])
        shape = frame_shape(frames.shape[1:], axes)
        one_hot = columns["actions"].shape[1] if columns["actions"].ndim == 2 else 1
        num_actions = max(
            one_hot, int(file.attrs.get("num_actions", 1)), actions.max(initial=0) + 1
        )
        if "header" in file:
            header = read_header(
                path, _text(path, file["header"]), shape, int(actions.max(initial=0)) + 1
            )
            episodes = _own_episodes(path, header, columns, actions)
            return Source(header.manifest, episodes, header.provenance, header.per_env)
        rewards = to_rewards(f"rewards of {path}", columns["rewards"])
    manifest = foreign_manifest(name or path.stem, int(num_actions), shape, f"the HDF5 file {path}")
    return Source(manifest, _d4rl_episodes(path, axes, columns, actions, rewards), {})


def _read(path: Path, file: Any, name: str) -> Array:
    check_size(f"{name} of {path}", file[name].shape, file[name].dtype)
    x: Array = file[name][()]
    return x


def _text(path: Path, dataset: Any) -> str:
    if dataset.shape != ():
        raise UsageError(f"The header of {path} is damaged.")
    return bytes(dataset[()]).decode(errors="replace")


def _own_episodes(
    path: Path, header: Header, columns: dict[str, Array], actions: Array
) -> Iterator[Episode]:
    """Yield the episodes of a file that was written from a recording."""
    with open_hdf5(path.resolve()) as file:
        ends = {name: _read(path, file, name) for name in ("episode_lengths", "final_actions")}
        lengths, final_frames = ends["episode_lengths"], file["final_observations"]
        states, final_states = (file.get(x) for x in ("privileged", "final_privileged"))
        num_bytes = len(header.manifest.privileged)
        expected = (len(actions), num_bytes), (len(lengths), num_bytes)
        if (
            lengths.dtype.kind not in "iu"
            or lengths.min(initial=0) < 0
            or lengths.sum() != len(actions)
            or not len(final_frames) == len(ends["final_actions"]) == len(lengths)
            or (num_bytes and (states.shape, final_states.shape) != expected)
        ):
            raise UsageError(f"{path} is damaged: its arrays are not of its episodes.")
        start = 0
        for number, length in enumerate(lengths.tolist()):
            rows, last = slice(start, start + length), slice(number, number + 1)
            shape = length + 1, *header.manifest.frame_shape
            check_size(f"observations of {path}", shape, np.dtype(np.uint8), frames=True)
            start += length
            state = np.concatenate([states[rows], final_states[last]]) if num_bytes else None
            yield Episode(
                np.concatenate([file["observations"][rows], final_frames[last]]),
                np.append(actions[rows], np.int64(ends["final_actions"][number])),
                to_rewards(f"rewards of {path}", columns["rewards"][rows]),
                columns["discounts"][rows].astype(np.float32),
                number not in header.unfinished,
                state,
            )


def _d4rl_episodes(
    path: Path, axes: str, columns: dict[str, Array], actions: Array, rewards: Array
) -> Iterator[Episode]:
    """Yield the episodes of D4RL's arrays."""
    terminal = columns["terminals"].reshape(-1).astype(np.bool_)
    timeout = columns.get("timeouts", np.zeros(len(actions))).reshape(-1).astype(np.bool_)
    ends = np.flatnonzero(terminal | timeout) + 1
    if not len(ends) or ends[-1] < len(actions):
        ends = np.append(ends, len(actions))
    with open_hdf5(path.resolve()) as file:
        observations, after = file["observations"], file.get("next_observations")
        if after is not None and (after.shape, after.dtype) != (
            observations.shape,
            observations.dtype,
        ):
            raise UsageError(f"{path} has next_observations that are not as its observations.")
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            died = bool(terminal[end - 1])
            shape = end - start, *observations.shape[1:]
            check_size(f"observations of {path}", shape, observations.dtype, frames=True)
            frames = observations[start:end]
            if after is not None:
                frames = np.concatenate([frames, after[end - 1 : end]])
            elif died:
                frames = np.concatenate([frames, frames[-1:]])
            else:
                end -= 1
            discount = np.ones(end - start, np.float32)
            discount[-1:] = not died
            yield Episode(
                to_frames(frames, axes),
                np.append(actions[start:end], 0),
                rewards[start:end],
                discount,
            )
