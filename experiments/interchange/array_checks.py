"""Arrays of other projects as frames and actions, with bounds on what is allocated for them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy.typing import NDArray

from ...envs.errors import UsageError

Array = NDArray[Any]

MAX_EPISODE_BYTES, MAX_COLUMN_BYTES = 1 << 32, 1 << 29
"""Greatest size of the frames of an episode, and of another array that is read at once."""
MAX_ACTIONS = 1 << 16
"""Greatest number of actions."""


def check_size(
    where: str, shape: Sequence[int], dtype: "np.dtype[Any]", *, frames: bool = False
) -> None:
    """Raise UsageError for an array that is no plain numbers, or larger than the bound."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise UsageError(
            f"{where} has the type {dtype}; it must be an array of integers, floats or booleans."
        )
    limit = MAX_EPISODE_BYTES if frames else MAX_COLUMN_BYTES
    if (size := math.prod(map(int, shape)) * dtype.itemsize) > limit:
        raise UsageError(
            f"{where} has {size:,} bytes, and at most {limit:,} are read at once; split it into "
            "shorter episodes, or into several files."
        )


def frame_axes(where: str, shape: Sequence[int], dtype: "np.dtype[Any]", axes: str) -> str:
    """Return the axes of a frame of this shape: HW, CHW or HWC; ``axes`` if given.

    Raises UsageError if they are not known, or if the frames are no images.
    """
    if dtype not in (np.uint8, np.bool_):
        raise UsageError(
            f"{where} has the type {dtype}, and frames are images of uint8; scale them to 0..255."
        )
    if not axes:
        channels_last, channels_first = (
            [x in (1, 3) for x in (shape[-1], shape[0])] if len(shape) == 3 else [False, False]
        )
        if len(shape) == 2:
            axes = "HW"
        elif channels_last != channels_first:
            axes = "HWC" if channels_last else "CHW"
    if len(axes) != len(shape) or sorted(axes) not in (["H", "W"], ["C", "H", "W"]):
        raise UsageError(
            f"{where} has frames of shape {tuple(shape)}, and their axes are "
            f"{axes or 'not known'}; name them as --axes CHW, HWC or HW."
        )
    return axes


def frame_shape(shape: Sequence[int], axes: str) -> tuple[int, int, int]:
    """Return the shape (channels, H, W) of frames with these axes."""
    sizes = dict(zip(axes, map(int, shape), strict=True))
    return sizes.get("C", 1), sizes["H"], sizes["W"]


def to_frames(x: Array, axes: str) -> UInt8[Array, "F C H W"]:
    """Return frames with these axes; booleans become 0 and 255."""
    if x.dtype == np.bool_:
        x = x * np.uint8(255)
    order = [0, *(1 + axes.index(axis) for axis in "CHW" if axis in axes)]
    x = x.transpose(order)
    return np.ascontiguousarray(x if "C" in axes else x[:, None])


def to_actions(where: str, x: Array) -> Int64[Array, " R"]:
    """Return actions as indices, from indices or from one-hot rows, of which empty ones are 0.

    Raises UsageError for any other actions.
    """
    if x.ndim == 2 and x.shape[1] > 1:
        ones = (x == 1).sum(1)
        if ((x != 0).sum(1) != ones).any() or (ones > 1).any():
            raise UsageError(f"{where} is continuous, and actions must be indices, or one-hot.")
        indices: Array = x.argmax(1).astype(np.int64)
        return indices
    flat = x.reshape(len(x), -1)[:, 0] if x.size else x.reshape(-1)
    with np.errstate(invalid="ignore"):
        actions = flat.astype(np.int64)
    valid = (actions == flat).all() and (x.ndim == 1 or x.shape == (len(x), 1))
    if not valid or (len(actions) and not 0 <= actions.min() <= actions.max() < MAX_ACTIONS):
        raise UsageError(
            f"{where} has actions that are not indices from 0 to {MAX_ACTIONS - 1}, or one-hot."
        )
    return actions


def to_rewards(where: str, x: Array) -> Float64[Array, " R"]:
    """Return rewards, [R] or [R, 1]; raises UsageError unless all are finite."""
    rewards = x.reshape(len(x), -1).astype(np.float64) if x.size else np.zeros((len(x), 1))
    if rewards.shape[1] != 1 or not np.isfinite(rewards).all():
        raise UsageError(f"{where} has the shape {x.shape}; it must be a finite number per step.")
    return rewards[:, 0]


def require_length(path: Path, lengths: dict[str, int]) -> None:
    """Raise UsageError unless all arrays have one length."""
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise UsageError(f"{path} has arrays of different lengths ({found}); write it again.")
