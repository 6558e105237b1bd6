"""Writing of recordings: shards of frames and columns, and a manifest.

The manifest is named ``unfinished.json`` until the recording is complete.
"""

import math
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...envs.atari.atari import AtariConfig
from ...envs.checks import check, refuse, within
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig, Padding, TimeStep
from ..config.serialization import MOVED, decode_file, encode
from ..runs.files import (
    FORMAT,
    check_format,
    read_json,
    remove_partial_files,
    replacing,
    write_file,
    write_json,
)

MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
MAX_ACTIONS, MAX_ENVS, MAX_FRAME_BYTES = 1 << 16, 10**5, 1 << 26
"""Bounds of what a manifest describes."""
SHARD_ROWS = 16_384
"""Number of rows from which on a shard is written."""


@dataclass(frozen=True)
class Manifest:
    """Description of a recording: its env, its policy and its shards."""

    env: EnvConfig
    """The env in the recorded frame format; the policy may have observed another format."""
    num_actions: int
    frame_shape: tuple[int, int, int]
    """(channels, H, W) of one frame; of a whole observation where the env's padding is stored."""
    policy: str
    epsilon: float
    """Probability of a uniformly random action, in addition to the policy's own randomness."""
    greedy: bool
    """Whether the policy's own randomness was left out."""
    seed: int
    num_envs: int
    padding: Padding = "zero"
    """What precedes an episode's first frame in a stack."""
    privileged: tuple[str, ...] = ()
    """Names of the bytes of the true state; empty if it was not recorded."""
    imports: tuple[str, ...] = ()
    """Modules that the env needs, as given by --import."""
    source: str = ""
    """What the episodes were converted from, if they are not those that the env plays from
    ``seed``; empty if they are."""
    shards: tuple[tuple[int, int], ...] = ()
    """Number of rows and of bytes of each shard."""

    def __post_init__(self) -> None:
        check(self, "", within(1, MAX_ACTIONS), "num_actions")
        check(self, "", within(1, MAX_ENVS), "num_envs")
        check(self, "", within(0, 1), "epsilon")
        if min(self.frame_shape) < 1 or math.prod(self.frame_shape) > MAX_FRAME_BYTES:
            refuse(self, "", "frame_shape", f"1 or more each, and {MAX_FRAME_BYTES:,} in all")

    def write(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the manifest, with its format version and provenance, as JSON."""
        labels = {"env_name": self.env.env_name, "protocol": self.env.protocol_label}
        data = {"format": FORMAT} | labels | encode(self, path.parent)
        write_json(path, data | {"provenance": provenance})

    def obs_shape(self, stack: int) -> tuple[int, int, int]:
        """Return the shape (K, H, W) of an observation of ``stack`` frames."""
        channels, height, width = self.frame_shape
        return stack * channels, height, width

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a shard."""
        names = ("action", "reward", "discount", "first", "last")
        return (*names, "privileged") if self.privileged else names

    @property
    def action_type(self) -> "np.dtype[Any]":
        """Type of the stored actions."""
        return np.min_scalar_type(self.num_actions - 1)

    def env_with_stack(self, stack: int) -> EnvConfig:
        """Return the env with observations of ``stack`` frames; of one frame if in color."""
        if isinstance(self.env, AtariConfig) and self.env.protocol.grayscale:
            return replace(self.env, protocol=replace(self.env.protocol, stack=stack))
        return self.env

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a folder's manifest.

        Raises UsageError if there is none, if the recording is unfinished, if the manifest is
        damaged or has another format, or if its env needs modules that are not imported.
        """
        path = folder / MANIFEST
        if (folder / UNFINISHED).exists() and not path.exists():
            raise UsageError(
                f"The recording {folder} was interrupted before its end; run the same "
                "`reverie collect` command again to record it from the start."
            )
        if not folder.exists():
            moved = f" If a run names it: {MOVED}." if folder.is_absolute() else ""
            raise UsageError(
                f"There is no recording {folder}; `reverie data list DIR` prints those in a folder."
                f"{moved}"
            )
        if folder.is_file():
            raise UsageError(f"{folder} is a file, and no folder of a recording.")
        if not path.exists():
            raise UsageError(f"{folder} is not a recording: it has no {MANIFEST}.")
        data = read_json(path)
        check_format(path, data.get("format"), "record it again")
        names = ("class", *(field.name for field in fields(cls)))
        own = {name: data[name] for name in names if name in data}
        return decode_file(cls, path, own, data.get("imports", ()))


class Recorder:
    """Writer of a recording, timestep by timestep; memory holds one shard of compressed frames.

    Removes the shards of an earlier, unfinished recording. Only the holder of the folder's lock may
    make one. Raises UsageError if the folder holds a recording.
    """

    def __init__(self, folder: Path, manifest: Manifest, provenance: dict[str, Any]) -> None:
        self.folder, self.manifest, self.provenance = folder, manifest, provenance
        if (folder / MANIFEST).exists():
            raise UsageError(f"{folder} already holds a recording; choose another with --folder.")
        if (folder / UNFINISHED).exists():
            print(f"The recording {folder} was interrupted before its end; it restarts.")
            for path in folder.glob(f"{'[0-9]' * 5}.*"):
                path.unlink()
        remove_partial_files(folder)
        manifest.write(folder / UNFINISHED, provenance)
        self.frames: list[bytes] = []
        self.columns: dict[str, list[NDArray[Any]]] = {name: [] for name in manifest.columns}

    def append(self, step: TimeStep, action: Int64[Tensor, " N"], next_step: TimeStep) -> None:
        """Append one transition of every env: the frame, the action, and its results."""
        frames = frames_to_record(step, self.manifest.frame_shape[0])
        self.frames += map(compressed, frames.numpy())
        columns = step.columns() | {
            "action": action,
            "reward": next_step.reward,
            "discount": next_step.discount,
        }
        for name, column in self.columns.items():
            column.append(columns[name].cpu().numpy())
        self.columns["action"][-1] = self.columns["action"][-1].astype(self.manifest.action_type)
        if len(self.frames) >= SHARD_ROWS:
            self._flush()

    def close(self, last: TimeStep) -> None:
        """Append the last frame of every env, with action 0, and complete the recording."""
        self.append(last, torch.zeros_like(last.first, dtype=torch.int64), last)
        if self.frames:
            self._flush()
        self.manifest.write(self.folder / MANIFEST, self.provenance)
        (self.folder / UNFINISHED).unlink()

    def _flush(self) -> None:
        """Write a shard and add it to the manifest."""
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        shards = self.manifest.shards
        shards = (*shards, write_shard(self.folder, len(shards), self.frames, columns))
        self.manifest = replace(self.manifest, shards=shards)
        self.frames, self.columns = [], {name: [] for name in self.columns}


def frames_to_record(step: TimeStep, channels: int) -> UInt8[Tensor, "N C H W"]:
    """Return the newest frames or, if these have other channels, the whole observations."""
    return step.frame if step.frame.shape[1] == channels else step.obs.cpu()


def write_shard(
    folder: Path, index: int, frames: list[bytes], columns: dict[str, NDArray[Any]]
) -> tuple[int, int]:
    """Write a shard of compressed frames and of columns; return its numbers of rows and bytes."""
    stem, blob = folder / f"{index:05d}", b"".join(frames)
    write_file(stem.with_suffix(".frames"), blob)
    ends = np.cumsum([len(frame) for frame in frames], dtype=np.int64)
    with replacing(stem.with_suffix(".npz")) as file:
        np.savez_compressed(file, allow_pickle=False, **columns, ends=ends)
    return len(frames), len(blob)


def compressed(frame: NDArray[np.uint8]) -> bytes:
    """Return a frame as it is stored."""
    return zlib.compress(frame.tobytes(), 1)
