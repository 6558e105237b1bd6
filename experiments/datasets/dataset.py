"""Recordings: experience on disk, with every frame stored once.

A folder holds shards and, once it is complete, ``manifest.json``. A shard is two files:
``00000.frames``, one zlib-compressed blob per frame, and ``00000.npz``, the columns (actions,
rewards, discounts, episode ends and, where the env offers it, the true state). Row
t x num_envs + n is timestep t of env n, so a row's successor is ``num_envs`` rows further. Frames
are decoded one at a time, by row: shuffling needs no buffer, and memory holds one minibatch (or all
frames, if they fit).
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...envs import prng
from ...envs.errors import UsageError
from ...envs.interface import Segment
from ..config.serialization import encode
from ..runs.config_differences import config_differences
from .shards import read_shard, unpack_frame
from .writer import Manifest

Split = Literal["train", "held-out"]


class Recording:
    """One or several recordings of the same environment, read by row.

    ``cache_bytes`` is the memory for decoded frames: all frames are cached if they fit, else none.
    Raises UsageError for a folder without a complete recording, a truncated shard, or recordings
    that differ in env, action set or frame format.

    Example::

        recording = Recording("runs/data/pong-random-own-s0")
        rows = recording.start_indices("train", length=10)
        segment = recording.segments(rows[:32], 10, stack=4)
    """

    def __init__(self, *folders: Path | str, cache_bytes: float = 2e9) -> None:
        if not folders:
            raise UsageError("Name a recording to learn from: --data FOLDER.")
        self.folders = [Path(folder) for folder in folders]
        manifests = [Manifest.read(folder) for folder in self.folders]
        self.manifest = manifests[0]
        self.frame_shape, self.num_actions = self.manifest.frame_shape, self.manifest.num_actions

        self.num_episodes = 0
        self._paths: list[Path] = []
        self._blobs: list[NDArray[np.uint8]] = []
        tables: list[dict[str, NDArray[Any]]] = []
        for folder, manifest in zip(self.folders, manifests, strict=True):
            _check_compatible(self.folders[0], self.manifest, folder, manifest)
            shards = [self._open(folder, i, manifest) for i in range(len(manifest.shards))]
            if not shards:
                raise UsageError(
                    f"{folder} describes a recording without its frames, as in an imported run; "
                    "record frames of the same env, and import it again: reverie import --data."
                )
            names = shards[0]
            table = {name: np.concatenate([shard[name] for shard in shards]) for name in names}
            num_envs, num_actions = manifest.num_envs, int(table["action"].max()) + 1
            if len(table["first"]) % num_envs or num_actions > manifest.num_actions:
                raise UsageError(
                    f"{folder} has {len(table['first'])} frames with {num_actions} actions, but "
                    f"its manifest lists {num_envs} envs with {manifest.num_actions} actions; "
                    "record it again."
                )
            if not table["first"][:num_envs].all():
                raise UsageError(
                    f"{folder} does not begin with the first frame of an episode in each of its "
                    f"{num_envs} envs; record it again."
                )
            table |= _episode_columns(table["first"], table["last"], num_envs)
            table["episode"] += self.num_episodes
            self.num_episodes = int(table["episode"].max()) + 1
            tables.append(table)
        columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        self._location = columns.pop("location")  # [rows, 3]: shard, first and last byte of a blob
        self.columns = {name: torch.from_numpy(column) for name, column in columns.items()}
        size = len(self) * math.prod(self.frame_shape)
        self._cache = (
            np.empty((len(self), *self.frame_shape), np.uint8) if size <= cache_bytes else None
        )
        self._is_cached = np.zeros(len(self), np.bool_)
        self._workers = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def __len__(self) -> int:
        """Return the number of frames, including the last ones of unfinished episodes."""
        return len(self.columns["action"])

    @property
    def env_name(self) -> str:
        """Name of the recorded env."""
        return self.manifest.env.env_name

    def obs_shape(self, stack: int) -> tuple[int, int, int]:
        """Return the shape (K, H, W) of an observation of ``stack`` frames."""
        return self.manifest.obs_shape(stack)

    def start_indices(
        self, split: Split, *, length: int = 0, held_out: float = 0.1, seed: int = 0
    ) -> Int64[Tensor, " M"]:
        """Return the rows of a split with at least ``length`` more timesteps in their episode.

        The held-out split is a share ``held_out`` of the frames, in whole episodes drawn by
        ``seed``. Raises UsageError if there is only one episode.
        """
        episode = self.columns["episode"]
        sizes = torch.bincount(episode)
        if len(sizes) < 2:
            raise UsageError(
                f"{self.folders[0]} holds one episode, so none can be held out; record more."
            )
        uniforms = prng.splitmix64(prng.initial_rng(seed, prng.Purpose.COLLECT, len(sizes)))
        order = uniforms.argsort()
        frames_before = sizes[order].cumsum(0) - sizes[order]
        is_held_out = torch.zeros(len(sizes), dtype=torch.bool)
        is_held_out[order] = frames_before < held_out * len(self)
        is_held_out[order[-1]] = False  # at least one episode is left for training
        fits = self.columns["steps_left"] >= length
        return ((is_held_out[episode] == (split == "held-out")) & fits).nonzero()[:, 0]

    def frames(self, rows: Int64[Tensor, "*b"]) -> UInt8[Tensor, "*b C H W"]:
        """Return the newest frames at these rows; raises UsageError if a shard is damaged."""
        flat_rows = rows.flatten().numpy()
        if self._cache is None:
            frames = self._decode(flat_rows)
        else:
            missing = np.unique(flat_rows[~self._is_cached[flat_rows]])
            self._cache[missing] = self._decode(missing)
            self._is_cached[missing] = True
            frames = self._cache[flat_rows]
        return torch.from_numpy(frames).view(*rows.shape, *self.frame_shape)

    def observations(self, rows: Int64[Tensor, "*b"], stack: int = 1) -> UInt8[Tensor, "*b K H W"]:
        """Return the newest ``stack`` frames, oldest first.

        Before an episode's first frame are zeros, or the first frame again if the env pads by it.
        """
        back = torch.arange(stack - 1, -1, -1)
        oldest = self.columns["episode_step"][rows][..., None]
        stride = self.columns["stride"][rows][..., None]
        frames = self.frames(rows[..., None] - torch.minimum(back, oldest) * stride)
        if self.manifest.padding == "zero":
            frames *= (back <= oldest)[..., None, None, None]
        return frames.flatten(-4, -3)

    def segments(self, rows: Int64[Tensor, " B"], length: int, stack: int = 1) -> Segment:
        """Return the segments of ``length`` timesteps that start at these rows.

        A segment that is longer than the rest of its episode repeats the episode's last row, with
        ``last`` set there; ``start_indices`` of its length avoid that.
        """
        ahead, left = torch.arange(length + 1), self.columns["steps_left"][rows][:, None]
        steps = rows[:, None] + self.columns["stride"][rows][:, None] * torch.minimum(ahead, left)
        reward = self.columns["reward"][steps[:, :-1]]
        privileged = self.columns["privileged"][steps] if self.manifest.privileged else None
        return Segment(
            action=self.columns["action"][steps[:, :-1]],
            obs=self.observations(steps, stack),
            reward=reward,
            bonus=torch.zeros_like(reward),
            discount=self.columns["discount"][steps[:, :-1]],
            first=self.columns["first"][steps],
            last=self.columns["last"][steps] | ((left < length) & (ahead >= left)),
            privileged=privileged,
        )

    def has_event(self, rows: Int64[Tensor, " B"], length: int) -> Bool[Tensor, " B"]:
        """Return where the ``length`` timesteps from a row have a reward or a termination."""
        events = (self.columns["reward"] != 0) | (self.columns["discount"] == 0)
        found = torch.zeros(len(rows), dtype=torch.bool)
        for ahead in range(length):
            found |= events[rows + ahead * self.columns["stride"][rows]]
        return found

    def _open(self, folder: Path, index: int, manifest: Manifest) -> dict[str, NDArray[Any]]:
        """Return a shard's columns; its frames stay on disk."""
        columns, ends, blobs = read_shard(folder, index, manifest)
        shard = np.full_like(ends, len(self._paths))
        columns["location"] = np.stack([shard, np.concatenate([[0], ends[:-1]]), ends], 1)
        self._paths.append(folder / f"{index:05d}.frames")
        self._blobs.append(blobs)
        return columns

    def _decode(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the frames of these rows, decoded in parallel."""
        frames = np.empty((len(rows), *self.frame_shape), np.uint8)

        def decode(chunk: NDArray[np.int64]) -> None:  # zlib releases the GIL
            for (shard, begin, end), i in zip(self._location[rows[chunk]], chunk, strict=True):
                try:
                    frames[i] = unpack_frame(self._blobs[shard][begin:end], self.frame_shape)
                except ValueError as error:
                    raise UsageError(
                        f"The shard {self._paths[shard]} is damaged ({error}); record it again."
                    ) from error

        num_chunks = min(len(os.sched_getaffinity(0)), 1 + len(rows) // 32)
        list(self._workers.map(decode, np.array_split(np.arange(len(rows)), num_chunks)))
        return frames


def _episode_columns(
    first: NDArray[np.bool_], last: NDArray[np.bool_], num_envs: int
) -> dict[str, NDArray[Any]]:
    """Return each row's episode, its timesteps before and after the row, and the row stride."""
    num_timesteps = len(first) // num_envs
    timestep = np.arange(num_timesteps)[:, None]
    first, last = first.reshape(num_timesteps, num_envs), last.reshape(num_timesteps, num_envs)
    begin = np.maximum.accumulate(np.where(first, timestep, 0))
    end = np.minimum.accumulate(np.where(last, timestep, num_timesteps - 1)[::-1])[::-1]
    index_in_env = first.cumsum(0) - 1
    _, episode = np.unique(index_in_env * num_envs + np.arange(num_envs), return_inverse=True)
    return {
        "episode_step": (timestep - begin).ravel(),
        "steps_left": (end - timestep).ravel(),
        "episode": episode.ravel(),
        "stride": np.full(num_timesteps * num_envs, num_envs),
    }


def _check_compatible(folder_a: Path, a: Manifest, folder_b: Path, b: Manifest) -> None:
    """Raise UsageError, which names the differences, if two recordings cannot be combined."""
    names = ("env", "num_actions", "frame_shape", "padding", "privileged")
    kinds = ({name: encode(manifest)[name] for name in names} for manifest in (a, b))
    if differences := config_differences(*kinds):
        raise UsageError(
            f"{folder_a} and {folder_b} differ ({'; '.join(differences)}); recordings can be "
            "combined only if they have the same env and frame format."
        )
