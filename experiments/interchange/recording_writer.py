"""Episodes written as a recording, in the rows that `reverie collect` would have written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..datasets.writer import MANIFEST, SHARD_ROWS, Manifest, compressed, write_shard
from .aside import writing_aside
from .recorded_episodes import Source, envs_of, rows_of

Array = NDArray[Any]


def write_recording(
    folder: Path,
    source: Source,
    provenance: dict[str, Any],
    show: Callable[[int], object] = lambda done: None,
) -> None:
    """Write episodes as a recording, which has its name only when it is complete.

    Episodes of several envs, of as many frames each, become the rows of these envs; all others
    become those of one env, in which an episode that has no end and is not the last one is
    truncated. ``show`` is called with the number of frames so far. Memory holds one episode, and
    the columns. Raises UsageError if there is no episode.
    """
    with writing_aside(folder) as aside:
        aside.mkdir()
        _write(aside, source, provenance, show)


def _write(
    folder: Path, source: Source, provenance: dict[str, Any], show: Callable[[int], object]
) -> None:
    """Write the shards and the manifest; frames wait in a file until their order is known."""
    manifest, waiting = source.manifest, folder / "waiting"
    parts: list[dict[str, Array]] = []
    ends, lengths = [0], list[int]()
    with open(waiting, "wb") as file:
        for episode in source.episodes:
            for frame in episode.frames:
                ends.append(ends[-1] + file.write(compressed(frame)))
            parts.append(rows_of(episode))
            lengths.append(len(episode.action))
            show(len(ends) - 1)
    if not parts:
        raise UsageError("There is no episode to convert.")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in manifest.columns}
    envs, num_envs = np.array(envs_of(source.per_env)), len(source.per_env)
    whole = len(envs) == len(lengths)
    frames_per_env = np.bincount(envs, lengths, num_envs) if whole else np.zeros(0)
    if whole and len(set(frames_per_env)) == 1:
        order = np.arange(len(ends) - 1).reshape(num_envs, -1).T.ravel()
        manifest = replace(manifest, num_envs=num_envs)
    else:
        order = np.arange(len(ends) - 1)
        columns["last"][np.cumsum(lengths)[:-1] - 1] = True
        about = (
            manifest.source or f"some of the episodes that were recorded of seed {manifest.seed}"
        )
        manifest = replace(manifest, num_envs=1, source=about)
    columns = {name: column[order] for name, column in columns.items()}
    columns["action"] = columns["action"].astype(manifest.action_type)
    _set_last_timestep(columns, manifest.num_envs)
    manifest = _write_shards(folder, manifest, waiting, np.array(ends), order, columns)
    waiting.unlink()
    manifest.write(folder / MANIFEST, provenance)


def _set_last_timestep(columns: dict[str, Array], num_envs: int) -> None:
    """Set what a recording has at the last frame of every env, from which no action is taken."""
    columns["action"][-num_envs:] = 0
    for name, start in (("reward", 0.0), ("discount", 1.0)):
        column = columns[name]
        before = column[-2 * num_envs : -num_envs]
        column[-num_envs:] = before if len(before) else start


def _write_shards(
    folder: Path,
    manifest: Manifest,
    waiting: Path,
    ends: Int64[Array, " R1"],
    order: Int64[Array, " R"],
    columns: dict[str, Array],
) -> Manifest:
    """Write the shards in the order of rows; return the manifest that lists them."""
    blobs, shards = np.memmap(waiting, np.uint8, "r"), list[tuple[int, int]]()
    size = -(-SHARD_ROWS // manifest.num_envs) * manifest.num_envs  # whole timesteps
    for start in range(0, len(order), size):
        rows = slice(start, start + size)
        frames = [blobs[ends[i] : ends[i + 1]].tobytes() for i in order[rows]]
        part = {name: column[rows] for name, column in columns.items()}
        shards.append(write_shard(folder, len(shards), frames, part))
    return replace(manifest, shards=tuple(shards))
