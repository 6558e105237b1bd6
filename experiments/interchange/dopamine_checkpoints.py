"""The DQN Replay Dataset (Agarwal et al. 2020): checkpoints of Dopamine's replay buffer.

Of checkpoint N are read ``$store$_observation_ckpt.N.gz``, with a frame per action, and those of
``action``, ``reward`` and ``terminal``. Before an episode the buffer has empty rows, which are left
out; the frame after an episode's last action it has not, so that a termination repeats the last
frame. The buffer is a ring: its newest row, by ``add_count``, precedes its oldest one.
"""

import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from .array_checks import frame_axes, frame_shape, require_length, to_actions, to_frames, to_rewards
from .foreign_manifest import foreign_manifest
from .numpy_files import ArrayReader, read_gzip, with_gzip
from .recorded_episodes import Episode, Source

Array = NDArray[Any]

PADDING = 3
"""Most empty rows before an episode: one less than the frames of a stack."""
CUT = 100_000
"""Actions after which an episode is cut, to bound the memory that its frames take."""


def checkpoint_numbers(path: Path) -> list[int]:
    """Return the numbers of the checkpoints in a folder."""
    names = (x.name for x in path.glob("$store$_observation_ckpt.*.gz"))
    found = (re.fullmatch(r"\$store\$_observation_ckpt\.(\d+)\.gz", name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def read_checkpoints(path: Path, name: str = "", axes: str = "") -> Source:
    """Return the episodes of all checkpoints in a folder, in their order.

    Of an env called ``name``, by default as the folder. Raises UsageError for a missing or damaged
    file.
    """
    numbers = checkpoint_numbers(path)
    num_actions, shapes = 1, set[tuple[int, int, int]]()
    for number in numbers:
        num_actions = max(num_actions, int(_columns(path, number)["action"].max(initial=0)) + 1)
        file = _file(path, "observation", number)
        (reader,) = with_gzip(file, lambda reader: iter([reader]))
        axes = frame_axes(str(file), reader.shape[1:], reader.dtype, axes)
        shapes.add(frame_shape(reader.shape[1:], axes))
    if len(shapes) != 1:
        raise UsageError(f"{path} has frames of shapes {sorted(shapes)}; keep those of one shape.")
    source = f"{len(numbers)} checkpoints of Dopamine in {path}"
    manifest = foreign_manifest(name or path.resolve().name, num_actions, shapes.pop(), source)
    return Source(manifest, _episodes(path, numbers, axes), {})


def _file(path: Path, name: str, number: int) -> Path:
    return path / f"$store$_{name}_ckpt.{number}.gz"


def _columns(path: Path, number: int) -> dict[str, Array]:
    """Return the actions, rewards and ends of a checkpoint."""
    arrays = {}
    for name in ("action", "reward", "terminal"):
        file = _file(path, name, number)
        if not file.exists():
            raise UsageError(f"{path} has no {file.name}; copy all files of checkpoint {number}.")
        arrays[name] = read_gzip(file)
    require_length(path, {x: len(array) for x, array in arrays.items()})
    arrays["action"] = to_actions(str(_file(path, "action", number)), arrays["action"])
    arrays["reward"] = to_rewards(str(_file(path, "reward", number)), arrays["reward"])
    return arrays


def _episodes(path: Path, numbers: list[int], axes: str) -> Iterator[Episode]:
    for number in numbers:
        read = partial(
            _of_buffer,
            columns=_columns(path, number),
            count=_add_count(path, number),
            axes=axes,
        )
        yield from with_gzip(_file(path, "observation", number), read)


def _add_count(path: Path, number: int) -> int | None:
    """Return the number of rows that were ever added; None if it is not stored."""
    file = path / f"add_count_ckpt.{number}.gz"
    if not file.exists():
        return None
    (count,) = with_gzip(file, lambda reader: iter([reader.read_scalar()]))
    return int(count)


def _of_buffer(
    reader: ArrayReader, columns: dict[str, Array], count: int | None, axes: str
) -> Iterator[Episode]:
    """Yield the episodes of a buffer, in the order of its rows."""
    size = len(columns["action"])
    require_length(Path(reader.where), {"observation": reader.shape[0], "action": size})
    terminal = columns["terminal"].reshape(-1).astype(np.bool_)
    used = size if count is None else min(size, count)
    cuts = {0, used, *(np.flatnonzero(terminal[:used]) + 1).tolist()}
    if count is not None and count > size:
        cuts.add(count % size)
    starts = sorted(cuts)
    for start, end in pairwise(starts):
        for begin in range(start, end, CUT):
            rows = slice(begin, min(begin + CUT, end))
            frames = reader.read(rows.stop - rows.start)
            yield from _episode(frames, columns, terminal, rows, axes)


def _episode(
    frames: Array, columns: dict[str, Array], terminal: Array, rows: slice, axes: str
) -> Iterator[Episode]:
    """Yield the episode of these rows, unless all of them are empty."""
    action, reward = columns["action"][rows], columns["reward"][rows]
    empty = ~(frames.reshape(len(frames), -1).any(1) | (action != 0) | (reward != 0))
    skipped = int(empty[:PADDING].cumprod().sum())
    if skipped == len(frames):
        return
    frames, action, reward = frames[skipped:], action[skipped:], reward[skipped:]
    died = bool(terminal[rows][-1])
    if died:
        frames, action = np.concatenate([frames, frames[-1:]]), np.append(action, 0)
    else:
        reward = reward[:-1]
    discount = np.ones(len(reward), np.float32)
    discount[-1:] = not died
    yield Episode(to_frames(frames, axes), action, reward, discount)
