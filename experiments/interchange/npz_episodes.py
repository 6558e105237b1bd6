"""Episodes in files of numpy as Dreamer writes them (Hafner et al. 2020, 2021, 2023).

A file has ``image``, ``action``, ``reward`` and, if they are there, ``is_first``, ``is_last``,
``is_terminal`` (or ``discount``), with a row per frame. A reward is that of the action before its
frame. An action is the one after its frame, as in DreamerV3, or before it, as in DreamerV1 and V2,
where that of an episode's first frame is one-hot without a one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from .array_checks import frame_axes, frame_shape, require_length, to_actions, to_frames, to_rewards
from .foreign_manifest import foreign_manifest
from .numpy_files import read_npz
from .recorded_episodes import Episode, Source

Array = NDArray[Any]

NAMES = ("image", "action", "reward", "is_first", "is_last", "is_terminal", "discount")


def npz_files(path: Path) -> list[Path]:
    """Return the files of a folder by name, or the one file."""
    if path.is_dir():
        return sorted(path.glob("*.npz"))
    return [path.resolve() if path.is_symlink() else path]  # the user may name a link


def read_npz_episodes(path: Path, name: str = "", axes: str = "") -> Source:
    """Return the episodes of a file, or of all files of a folder, by name.

    Of an env called ``name``, by default as the path. An episode that has no end in its file is cut
    there, by a time-out. Raises UsageError for arrays that are missing, too large or no images and
    indices, and for files whose frames or actions differ.
    """
    files = npz_files(path)
    num_actions, shapes = 1, set[tuple[int, int, int]]()
    after_frame = True
    for file in files:
        arrays = _read(file, ("image", "action", "reward", "is_first"))
        image, action = arrays["image"], arrays["action"]
        axes = frame_axes(f"image of {file}", image.shape[1:], image.dtype, axes)
        shapes.add(frame_shape(image.shape[1:], axes))
        one_hot = action.shape[1] if action.ndim == 2 else 1
        highest = int(to_actions(f"action of {file}", action).max(initial=0)) + 1
        num_actions = max(num_actions, one_hot, highest)
        first = _first(arrays)
        after_frame &= not (one_hot > 1 and not action[first].any())
    if len(shapes) != 1:
        raise UsageError(
            f"{path} has frames of shapes {sorted(shapes)}; convert those of one shape at a time."
        )
    source = f"{len(files)} npz files of {path}, whose actions are those "
    source += "after their frames" if after_frame else "before their frames"
    manifest = foreign_manifest(name or path.stem, num_actions, shapes.pop(), source)
    return Source(manifest, _episodes(files, axes, after_frame), {})


def _read(path: Path, names: tuple[str, ...] = NAMES) -> dict[str, Array]:
    arrays = read_npz(path, names)
    if missing := [x for x in NAMES[:3] if x not in arrays]:
        raise UsageError(
            f"{path} has no array {missing[0]}; it must have image, action and reward, as the "
            "episodes of Dreamer."
        )
    require_length(path, {x: len(array) for x, array in arrays.items()})
    if not len(arrays["image"]):
        raise UsageError(f"{path} has no frame; remove it.")
    return arrays


def _first(arrays: dict[str, Array]) -> Array:
    """Return where an episode begins; the first row always does."""
    rows = np.arange(len(arrays["image"]))
    marked = arrays["is_first"].astype(np.bool_).reshape(-1) if "is_first" in arrays else rows < 0
    return np.asarray(marked | (rows == 0))


def _episodes(files: list[Path], axes: str, after_frame: bool) -> Iterator[Episode]:
    for file in files:
        arrays = _read(file)
        frames = to_frames(arrays["image"], axes)
        actions = to_actions(f"action of {file}", arrays["action"])
        rewards = to_rewards(f"reward of {file}", arrays["reward"])
        starts = np.flatnonzero(_first(arrays)).tolist()
        for start, end in zip(starts, [*starts[1:], len(frames)], strict=True):
            action = actions[start:end] if after_frame else np.append(actions[start + 1 : end], 0)
            discount = np.ones(end - 1 - start, np.float32)
            discount[-1:] = 1.0 - _died(arrays, end - 1)
            yield Episode(frames[start:end], action, rewards[start + 1 : end], discount)


def _died(arrays: dict[str, Array], row: int) -> bool:
    """Return whether the episode was terminated at a row."""
    if "is_terminal" in arrays:
        return bool(arrays["is_terminal"][row])
    return "discount" in arrays and not arrays["discount"][row]
