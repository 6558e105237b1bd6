"""Writing a recording: shards of frames with what was done and what followed, and a manifest.

The manifest has another name until the recording is whole.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from envs.atari import AtariConfig
from envs.checks import at_least, check
from envs.errors import UsageError
from envs.interface import EnvConfig, Step
from experiments.config import decode, encode
from experiments.run import locked

FORMAT = "reverie-recording-1"


SHARD_ROWS = 16_384


MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"


COLUMNS = ("action", "reward", "discount", "first", "last")


@contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """A folder to record in, made where there is none; nobody else records there meanwhile.

    Raises UsageError where it already holds a recording or cannot be written, and FolderBusy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be written ({error.strerror}); "
            "choose another with --folder."
        ) from error
    with locked(folder, "recording"):
        if (folder / MANIFEST).exists():
            raise UsageError(f"{folder} already holds a recording; choose another with --folder.")
        yield


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

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "num_actions", "streams")

    def write(self, path: Path, provenance: dict[str, Any]) -> None:
        about = {"world": self.env.title, "protocol": self.env.protocol_label}
        own = {name: value for name, value in encode(self).items() if name != "class"}
        data = {"format": FORMAT} | about | own | {"provenance": provenance}
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=1) + "\n")
        temporary.replace(path)

    def world(self, stack: int) -> EnvConfig:
        """The world, with looks of so many frames; coloured ones come one at a time."""
        if isinstance(self.env, AtariConfig) and self.env.protocol.grey:
            return replace(self.env, protocol=replace(self.env.protocol, stack=stack))
        return self.env

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Raises UsageError where there is none, an unfinished one, or one of another format."""
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            if (folder / UNFINISHED).exists():
                raise UsageError(
                    f"The recording {folder} was interrupted before its end; the same "
                    "`reverie collect` begins it anew."
                ) from None
            raise UsageError(f"{folder} is no recording: it has no {MANIFEST}.") from None
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} cannot be read: {error}.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UsageError(f"{path} is no {FORMAT} manifest; record it again.")
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in data]
        if missing:
            raise UsageError(f"{path} does not say {', '.join(missing)}; record it again.")
        known = {"class": f"{cls.__module__}:{cls.__qualname__}"}
        try:
            return decode(cls, known | {name: data[name] for name in names})
        except UsageError as error:
            raise UsageError(f"{path} is damaged: {error}") from error


class Recorder:
    """Writes a recording tick by tick; memory is one shard of compressed frames.

    What an interrupt left of an earlier one is removed. Nobody else may write in the folder.
    """

    def __init__(self, folder: Path, manifest: Manifest, provenance: dict[str, Any]) -> None:
        self.folder, self.manifest, self.provenance = folder, manifest, provenance
        if (folder / UNFINISHED).exists():
            print(f"The recording {folder} was interrupted before its end; it begins anew.")
            for path in folder.glob(f"{'[0-9]' * 5}.*"):
                path.unlink()
        manifest.write(folder / UNFINISHED, provenance)
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
        self.manifest.write(self.folder / MANIFEST, self.provenance)
        (self.folder / UNFINISHED).unlink()

    def _flush(self) -> None:
        """Write a shard, and note it for the manifest."""
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
        self.manifest = replace(self.manifest, shards=shards)
        self.frames, self.columns = [], {name: [] for name in COLUMNS}
