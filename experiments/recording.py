"""Recordings: experience on disk, every frame once, for whatever learns from it later.

A folder holds ``manifest.json`` and shards. A shard is two files: ``00000.frames``, one zlib stream
a frame, and ``00000.npz``, what was done and what followed. Row t x streams + n is stream n's tick
t, so a row's successor is ``streams`` rows further. Frames are decoded one at a time, by row: a
shuffle needs no buffer, and memory is what one batch needs (or all of it, where all of it fits).
"""

import json
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs import dice
from envs.errors import UsageError
from envs.interface import EnvConfig, Segment, Step
from experiments.config import decode, differences, encode

FORMAT = "reverie-recording-1"
SHARD_ROWS = 16_384
COLUMNS = ("action", "reward", "discount", "first", "last")
Part = Literal["train", "held-out"]
T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """What a recording is of."""

    env: EnvConfig
    """The world in the recorded format; the policy may have seen it in another."""
    num_actions: int
    frame_shape: tuple[int, int, int]
    """(colours, H, W) of one frame."""
    policy: str
    epsilon: float
    """Share of uniformly drawn actions on top of the policy's own."""
    seed: int
    streams: int
    shards: tuple[tuple[int, int], ...] = ()
    """Rows and bytes of each."""

    def write(self, folder: Path, provenance: dict[str, Any]) -> None:
        about = {"world": self.env.title, "protocol": self.env.protocol_label}
        fields = {name: value for name, value in encode(self).items() if name != "class"}
        data = {"format": FORMAT} | about | fields | {"provenance": provenance}
        temporary = folder / ".manifest.tmp"
        temporary.write_text(json.dumps(data, indent=1) + "\n")
        temporary.replace(folder / "manifest.json")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Raises UsageError where there is none, or one of another format."""
        path = folder / "manifest.json"
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            raise UsageError(f"{folder} is no recording: it has no manifest.json.") from None
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} cannot be read: {error}.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UsageError(f"{path} is no {FORMAT} manifest; record it again.")
        return cls(
            env=decode(EnvConfig, data["env"]),
            frame_shape=tuple(data["frame_shape"]),
            shards=tuple((rows, size) for rows, size in data["shards"]),
            **{
                name: data[name] for name in ("num_actions", "policy", "epsilon", "seed", "streams")
            },
        )


class Recorder:
    """Writes a recording tick by tick; memory is one shard of compressed frames.

    Raises UsageError where the folder already holds one or cannot be written.
    """

    def __init__(self, folder: Path, manifest: Manifest, provenance: dict[str, Any]) -> None:
        self.folder, self.manifest, self.provenance = folder, manifest, provenance
        if (folder / "manifest.json").exists():
            raise UsageError(f"{folder} already holds a recording; choose another with --folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            manifest.write(folder, provenance)
        except OSError as error:
            raise UsageError(
                f"The folder {folder} cannot be written ({error.strerror}); "
                "choose another with --folder."
            ) from error
        self.frames: list[bytes] = []
        self.columns: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}

    def append(self, step: Step, action: Int64[Tensor, " N"], next_step: Step) -> None:
        """One tick of every stream: what was seen, what was done, what followed."""
        self.frames += [zlib.compress(frame.tobytes(), 1) for frame in step.frame.numpy()]
        row = action, next_step.reward, next_step.discount, step.first, step.last
        for name, values in zip(COLUMNS, row, strict=True):
            self.columns[name].append(values.cpu().numpy())
        if len(self.frames) >= SHARD_ROWS:
            self._flush()

    def close(self, last: Step) -> None:
        """Add what the streams looked like in the end, from where nothing was done."""
        self.append(last, torch.zeros_like(last.first, dtype=torch.int64), last)
        if self.frames:
            self._flush()

    def _flush(self) -> None:
        """Write a shard, then the manifest that names it: a kill leaves a whole recording."""
        stem = self.folder / f"{len(self.manifest.shards):05d}"
        blob = b"".join(self.frames)
        stem.with_suffix(".frames").write_bytes(blob)
        ends = np.cumsum([len(frame) for frame in self.frames], dtype=np.int64)
        columns = {name: np.concatenate(rows) for name, rows in self.columns.items()}
        kinds = {"action": np.uint8, "reward": np.float32, "discount": np.float32}
        columns |= {name: columns[name].astype(kind) for name, kind in kinds.items()}
        columns["ends"] = ends
        np.savez_compressed(stem.with_suffix(".npz"), allow_pickle=False, **columns)
        shards = (*self.manifest.shards, (len(self.frames), len(blob)))
        self.manifest = Manifest(**{**vars(self.manifest), "shards": shards})
        self.manifest.write(self.folder, self.provenance)
        self.frames, self.columns = [], {name: [] for name in COLUMNS}


class Recording:
    """One or several recordings of the same world, read by row.

    ``memory`` bounds, in bytes, the decoded frames that are kept: all of them, or none.
    Raises UsageError for a folder without a recording, a truncated shard, or recordings that
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
            table |= _places(table["first"], table["last"], manifest.streams)
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
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
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


class Batches(Generic[T]):
    """Endless batches of a recording: every row once an epoch, each epoch in an order of its own.

    ``draw`` makes a batch of rows; the next ones are made ahead in a thread. The state is that of
    the batches handed out, so a resumed run sees what the uninterrupted one would have seen.
    """

    def __init__(
        self,
        rows: Int64[Tensor, " M"],
        batch: int,
        draw: Callable[[Int64[Tensor, " B"]], T],
        *,
        seed: int = 0,
        ahead: int = 2,
    ) -> None:
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be 1 or more.")
        if len(rows) < batch:
            raise UsageError(
                f"The recording has {len(rows)} places to start from, fewer than a batch of "
                f"{batch}; record more or take a smaller batch."
            )
        self.rows, self.batch, self.draw, self.seed, self.ahead = rows, batch, draw, seed, ahead
        self.count = 0  # batches handed out
        self._order: tuple[int, Tensor] = -1, rows
        self._made: deque[Future[T]] = deque()
        self._thread = ThreadPoolExecutor(1)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while len(self._made) <= self.ahead:
            chosen = self.places(self.count + len(self._made))
            self._made.append(self._thread.submit(self.draw, chosen))
        self.count += 1
        return self._made.popleft().result()

    def places(self, number: int) -> Int64[Tensor, " B"]:
        """The rows of the ``number``-th batch; what an epoch has beyond whole batches is left."""
        epoch, place = divmod(number, len(self.rows) // self.batch)
        if self._order[0] != epoch:
            key = dice.keys(self.seed, "replay", 1) + epoch
            generator = torch.Generator().manual_seed(int(dice.splitmix64(key)))
            self._order = epoch, self.rows[torch.randperm(len(self.rows), generator=generator)]
        return self._order[1][place * self.batch : (place + 1) * self.batch]

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._made.clear()
        self.count = state["count"]


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
