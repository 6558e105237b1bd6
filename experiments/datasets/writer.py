"""Writing of recordings: shards of frames and columns, and a manifest.

The manifest is named ``unfinished.json`` until the recording is complete.
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

from ...envs.atari.atari import AtariConfig
from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig, TimeStep
from ..runs.run import locked
from ..runs.serialization import decode, encode

FORMAT = "reverie-recording-2"
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
SHARD_ROWS = 16_384
"""Number of rows from which on a shard is written."""
COLUMNS = ("action", "reward", "discount", "first", "last")


@contextmanager
def reserve_folder(folder: Path) -> Iterator[None]:
    """Create a folder for a recording if needed, and lock it in the context.

    Raises UsageError if it holds a recording or cannot be written, and FolderBusy if another
    process records in it.
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
    """Description of a recording: its env, its policy and its shards."""

    env: EnvConfig
    """The env in the recorded frame format; the policy may have observed another format."""
    num_actions: int
    frame_shape: tuple[int, int, int]
    """(channels, H, W) of one frame."""
    policy: str
    epsilon: float
    """Probability of a uniformly random action, in addition to the policy's own randomness."""
    seed: int
    num_envs: int
    shards: tuple[tuple[int, int], ...] = ()
    """Number of rows and of bytes of each shard."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "num_actions", "num_envs")

    def write(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the manifest, with its format version and provenance, as JSON."""
        labels = {"env_name": self.env.env_name, "protocol": self.env.protocol_label}
        own = {name: value for name, value in encode(self).items() if name != "class"}
        data = {"format": FORMAT} | labels | own | {"provenance": provenance}
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=1) + "\n")
        temporary.replace(path)

    def env_with_stack(self, stack: int) -> EnvConfig:
        """Return the env with observations of ``stack`` frames; of one frame if in color."""
        if isinstance(self.env, AtariConfig) and self.env.protocol.grayscale:
            return replace(self.env, protocol=replace(self.env.protocol, stack=stack))
        return self.env

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a folder's manifest.

        Raises UsageError if there is none, if the recording is unfinished, or if the manifest is
        damaged or of another format.
        """
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            if (folder / UNFINISHED).exists():
                raise UsageError(
                    f"The recording {folder} was interrupted before its end; run the same "
                    "`reverie collect` command again to record it from the start."
                ) from None
            raise UsageError(f"{folder} is not a recording: it has no {MANIFEST}.") from None
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} cannot be read: {error}.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UsageError(f"{path} is not a {FORMAT} manifest; record it again.")
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in data]
        if missing:
            raise UsageError(f"{path} lacks {', '.join(missing)}; record it again.")
        known = {"class": f"{cls.__module__}:{cls.__qualname__}"}
        try:
            return decode(cls, known | {name: data[name] for name in names})
        except UsageError as error:
            raise UsageError(f"{path} is damaged, record it again: {error}") from error


class Recorder:
    """Writer of a recording, timestep by timestep; memory holds one shard of compressed frames.

    Removes the shards of an earlier, unfinished recording. The folder must be reserved for this
    process (see ``reserve_folder``).
    """

    def __init__(self, folder: Path, manifest: Manifest, provenance: dict[str, Any]) -> None:
        self.folder, self.manifest, self.provenance = folder, manifest, provenance
        if (folder / UNFINISHED).exists():
            print(f"The recording {folder} was interrupted before its end; it restarts.")
            for path in folder.glob(f"{'[0-9]' * 5}.*"):
                path.unlink()
        manifest.write(folder / UNFINISHED, provenance)
        self.frames: list[bytes] = []
        self.columns: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}

    def append(self, step: TimeStep, action: Int64[Tensor, " N"], next_step: TimeStep) -> None:
        """Append one transition of every env: the frame, the action, and its results."""
        self.frames += [zlib.compress(frame.tobytes(), 1) for frame in step.frame.numpy()]
        columns = action, next_step.reward, next_step.discount, step.first, step.last
        for name, values in zip(COLUMNS, columns, strict=True):
            self.columns[name].append(values.cpu().numpy())
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
        stem = self.folder / f"{len(self.manifest.shards):05d}"
        blob = b"".join(self.frames)
        stem.with_suffix(".frames").write_bytes(blob)
        ends = np.cumsum([len(frame) for frame in self.frames], dtype=np.int64)
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        dtypes = {"action": np.uint8, "reward": np.float32, "discount": np.float32}
        columns |= {name: columns[name].astype(dtype) for name, dtype in dtypes.items()}
        columns["ends"] = ends
        np.savez_compressed(stem.with_suffix(".npz"), allow_pickle=False, **columns)
        shards = (*self.manifest.shards, (len(self.frames), len(blob)))
        self.manifest = replace(self.manifest, shards=shards)
        self.frames, self.columns = [], {name: [] for name in COLUMNS}
