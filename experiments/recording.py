"""Recordings: experience on disk, every frame once, for whatever learns from it later.

A folder holds shards and, once it is whole, ``manifest.json``. A shard is two files:
``00000.frames``, one zlib stream a frame, and ``00000.npz``, what was done and what followed. Row
t x streams + n is stream n's tick t, so a row's successor is ``streams`` rows further. Frames are
decoded one at a time, by row: a shuffle needs no buffer, and memory is what one batch needs (or all
of it, where all of it fits).
"""

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs import dice
from envs.errors import UsageError
from envs.interface import Segment
from experiments.config import differences, encode
from experiments.recorder import COLUMNS, Manifest

Part = Literal["train", "held-out"]

DAMAGES = (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises."""


class Recording:
    """One or several recordings of the same world, read by row.

    ``memory`` bounds, in bytes, the decoded frames that are kept: all of them, or none.
    Raises UsageError for a folder without a whole recording, a truncated shard, or recordings that
    differ in game, action set or format.
    """

    def __init__(self, *folders: Path | str, memory: float = 2e9) -> None:
        if not folders:
            raise UsageError("Name a recording to learn from: --data FOLDER.")
        self.folders = [Path(folder) for folder in folders]
        manifests = [Manifest.read(folder) for folder in self.folders]
        self.manifest = manifests[0]
        for folder, other in zip(self.folders[1:], manifests[1:], strict=True):
            _check_alike(self.folders[0], self.manifest, folder, other)
        self.frame_shape, self.num_actions = self.manifest.frame_shape, self.manifest.num_actions

        self._paths: list[Path] = []
        self._blobs: list[NDArray[np.uint8]] = []
        tables: list[dict[str, NDArray[Any]]] = []
        for folder, manifest in zip(self.folders, manifests, strict=True):
            shards = [self._open(folder, i, *sizes) for i, sizes in enumerate(manifest.shards)]
            if not shards:
                raise UsageError(f"{folder} holds no frames yet; record it again.")
            names = shards[0]
            table = {name: np.concatenate([shard[name] for shard in shards]) for name in names}
            streams, actions = manifest.streams, int(table["action"].max()) + 1
            if len(table["first"]) % streams or actions > manifest.num_actions:
                raise UsageError(
                    f"{folder} has {len(table['first'])} frames with {actions} actions, and its "
                    f"manifest says {streams} streams with {manifest.num_actions}; record it again."
                )
            table |= _places(table["first"], table["last"], streams)
            tables.append(table)
        before = 0
        for table in tables:  # episodes of different folders are different episodes
            table["episode"] += before
            before = int(table["episode"].max()) + 1
        columns = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
        self._place = columns.pop("place")  # [rows, 3]: shard, begin and end of its zlib stream
        self.columns = {name: torch.from_numpy(column) for name, column in columns.items()}
        self.num_episodes = before
        size = len(self) * int(np.prod(self.frame_shape))
        self._decoded = (
            np.empty((len(self), *self.frame_shape), np.uint8) if size <= memory else None
        )
        self._is_decoded = np.zeros(len(self), np.bool_)
        self._workers = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def __len__(self) -> int:
        """Frames, the last ones of unfinished episodes included."""
        return len(self.columns["action"])

    @property
    def title(self) -> str:
        """The world's."""
        return self.manifest.env.title

    def obs_shape(self, stack: int) -> tuple[int, int, int]:
        """(K, H, W) of a look of ``stack`` frames."""
        colours, height, width = self.frame_shape
        return stack * colours, height, width

    def rows(
        self, part: Part, *, length: int = 0, held_out: float = 0.1, seed: int = 0
    ) -> Int64[Tensor, " M"]:
        """Rows of the part's episodes from which ``length`` more ticks follow within the episode.

        ``held_out`` is the share of frames set aside, by whole episodes drawn by ``seed``.
        """
        episode = self.columns["episode"]
        sizes = torch.bincount(episode)
        if len(sizes) < 2:
            raise UsageError(
                f"{self.folders[0]} holds one episode, and none could be held out; record more."
            )
        lots = dice.splitmix64(dice.keys(seed, "collect", len(sizes)))
        order = lots.argsort()
        before = sizes[order].cumsum(0) - sizes[order]
        is_held_out = torch.zeros(len(sizes), dtype=torch.bool)
        is_held_out[order] = before < held_out * len(self)
        is_held_out[order[-1]] = False  # something must be left to learn from
        fits = self.columns["left"] >= length
        return ((is_held_out[episode] == (part == "held-out")) & fits).nonzero()[:, 0]

    def frames(self, rows: Int64[Tensor, "*b"]) -> UInt8[Tensor, "*b C H W"]:
        """The newest frames of these rows; raises UsageError where a shard is damaged."""
        wanted = rows.flatten().numpy()
        if self._decoded is None:
            out = np.empty((len(wanted), *self.frame_shape), np.uint8)
            self._decode(wanted, out, np.arange(len(wanted)))
        else:
            missing = np.unique(wanted[~self._is_decoded[wanted]])
            self._decode(missing, self._decoded, missing)
            self._is_decoded[missing] = True
            out = self._decoded[wanted]
        return torch.from_numpy(out).view(*rows.shape, *self.frame_shape)

    def looks(self, rows: Int64[Tensor, "*b"], stack: int = 1) -> UInt8[Tensor, "*b K H W"]:
        """The newest ``stack`` frames, oldest first; frames before an episode's first are zero."""
        back = torch.arange(stack - 1, -1, -1)
        real = back <= self.columns["age"][rows][..., None]
        stride = self.columns["stride"][rows][..., None]
        frames = self.frames(torch.where(real, rows[..., None] - back * stride, rows[..., None]))
        frames *= real[..., None, None, None]
        return frames.flatten(-4, -3)

    def segments(self, rows: Int64[Tensor, " B"], length: int, stack: int = 1) -> Segment:
        """What was seen and done in ``length`` ticks from each row, which must follow within its
        episode (see ``rows``)."""
        ticks = rows[:, None] + self.columns["stride"][rows][:, None] * torch.arange(length + 1)
        reward = self.columns["reward"][ticks[:, :-1]]
        return Segment(
            action=self.columns["action"][ticks[:, :-1]].long(),
            obs=self.looks(ticks, stack),
            reward=reward,
            bonus=torch.zeros_like(reward),
            discount=self.columns["discount"][ticks[:, :-1]],
            first=self.columns["first"][ticks],
            last=self.columns["last"][ticks],
            memory={},
        )

    def _open(self, folder: Path, index: int, rows: int, size: int) -> dict[str, NDArray[Any]]:
        """A shard's table; its frames stay on disk."""
        stem = folder / f"{index:05d}"
        path = stem.with_suffix(".frames")
        try:
            with np.load(stem.with_suffix(".npz"), allow_pickle=False) as table:
                columns = {name: table[name] for name in ("ends", *COLUMNS)}
            whole = path.stat().st_size == size and len(columns["ends"]) == rows
        except DAMAGES as error:
            raise UsageError(
                f"The shard {stem} is truncated or missing ({error}); record it again."
            ) from error
        if not whole:
            raise UsageError(
                f"The shard {path} is truncated: its manifest says {rows} frames in {size} bytes; "
                "record it again."
            )
        ends = columns.pop("ends")
        shard = np.full_like(ends, len(self._paths))
        columns["place"] = np.stack([shard, np.concatenate([[0], ends[:-1]]), ends], 1)
        self._paths.append(path)
        self._blobs.append(np.memmap(path, np.uint8, "r"))
        return columns

    def _decode(
        self, rows: NDArray[np.int64], out: NDArray[np.uint8], where: NDArray[np.int64]
    ) -> None:
        """Put the frames of these rows at these places."""
        share = max(32, -(-len(rows) // self._workers._max_workers))
        parts = [slice(i, i + share) for i in range(0, len(rows), share)]
        if len(parts) > 1:  # zlib frees the interpreter's lock
            list(self._workers.map(lambda p: self._decode_some(rows[p], out, where[p]), parts))
        elif parts:
            self._decode_some(rows, out, where)

    def _decode_some(
        self, rows: NDArray[np.int64], out: NDArray[np.uint8], where: NDArray[np.int64]
    ) -> None:
        for (shard, begin, end), place in zip(self._place[rows].tolist(), where, strict=True):
            try:
                pixels = zlib.decompress(self._blobs[shard][begin:end])
                out[place] = np.frombuffer(pixels, np.uint8).reshape(self.frame_shape)
            except (zlib.error, ValueError) as error:
                raise UsageError(
                    f"The shard {self._paths[shard]} is damaged ({error}); record it again."
                ) from error


def _places(
    first: NDArray[np.bool_], last: NDArray[np.bool_], streams: int
) -> dict[str, NDArray[Any]]:
    """Where each row stands: its episode, how many ticks of it came before and are left."""
    ticks = len(first) // streams
    tick = np.arange(ticks)[:, None]
    first, last = first.reshape(ticks, streams), last.reshape(ticks, streams)
    begin = np.maximum.accumulate(np.where(first, tick, 0))
    end = np.minimum.accumulate(np.where(last, tick, ticks - 1)[::-1])[::-1]
    number = first.cumsum(0) - 1
    _, episode = np.unique(number * streams + np.arange(streams), return_inverse=True)
    return {
        "age": (tick - begin).ravel(),
        "left": (end - tick).ravel(),
        "episode": episode.ravel(),
        "stride": np.full(ticks * streams, streams),
    }


def _check_alike(one: Path, a: Manifest, other: Path, b: Manifest) -> None:
    """Raise UsageError, naming the difference, where two recordings are not of one world."""
    for what, x, y in (
        ("the world", a.env.title, b.env.title),
        ("the number of actions", a.num_actions, b.num_actions),
        ("the frame's shape", a.frame_shape, b.frame_shape),
    ):
        if x != y:
            raise UsageError(
                f"{what[0].upper()}{what[1:]} of {one} is {x} and that of {other} is {y}; "
                "recordings are read together only where they are of one world and format."
            )
    if differ := differences(encode(a.env), encode(b.env)):
        raise UsageError(f"{one} and {other} are of different worlds ({'; '.join(differ)}).")
