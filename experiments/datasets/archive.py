"""Archives: the symbols of recorded frames in one file, coded losslessly by a density.

A file is ``MAGIC`` and chunks, each a length, a CRC-32 and as many bytes. The first chunk is the
header, as compressed JSON; the others are messages of ``world_models.coding``, of about
``SYMBOLS_PER_CHUNK`` symbols each, and the density goes on learning from one to the next. A file
that is cut, changed, or of another model, version or machine is refused.
"""

import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ...world_models.coding.prequential import (
    NotReproduced,
    decode,
    encode,
    require_conditionals,
    unpack,
)
from ...world_models.density.capabilities import (
    TemporalDensity,
    TemporalDensityConfig,
    TrainableDensity,
)
from ...world_models.interface import Density, DensityConfig
from ..config.serialization import decode_file
from ..config.serialization import encode as to_values
from ..runs.files import replacing, to_json
from ..runs.json_values import parse_compressed
from ..runs.provenance import cpu_name, package_version
from .symbols import Symbols

MAGIC = b"\x89reverie"
SUFFIX = ".reverie"
"""Of the names of archives."""
ARCHIVE_FORMAT = 2
SYMBOLS_PER_CHUNK = 1 << 23
"""Symbols of a message; the coder holds 8 bytes of each in memory."""
MAX_SYMBOLS = 1 << 26
"""Greatest number of symbols that are coded together."""
CHUNK = struct.Struct("<II")
"""Length and CRC-32 of a chunk."""


@dataclass(frozen=True)
class Header:
    """What an archive holds, and by which density it was coded."""

    env_name: str
    num_frames: int
    shape: tuple[int, int]
    levels: int
    density: DensityConfig
    made_with: dict[str, str]
    """Versions and hardware on which the probabilities depend, bit for bit."""
    num_envs: int = 1
    """Envs whose frames alternate."""
    temporal: bool = False
    """Whether the density is given the frames before."""
    batch_size: int = 1
    """Frames that are coded together, and then learned."""
    learn: bool = True
    """Whether the density learns the frames."""
    pretrained: str = ""
    """Folder of the pretraining in whose state the density begins; empty if it is untrained."""
    weights: str = ""
    """SHA-256 of that state."""
    imports: tuple[str, ...] = ()
    """Modules that the density needs, as given by --import."""
    format: int = ARCHIVE_FORMAT

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "num_frames", "num_envs", "batch_size")
        check(self, "", within(2, 256), "levels")
        at_once = max(self.batch_size, self.num_envs)
        whole = all(type(n) is int and n > 0 for n in self.shape)  # True is no size
        if not whole or math.prod(self.shape) * at_once > MAX_SYMBOLS:
            raise UsageError(
                f"shape is {self.shape}, batch_size {self.batch_size} and num_envs "
                f"{self.num_envs}; a batch, and a frame of each env, must have 1 to "
                f"{MAX_SYMBOLS:,} symbols."
            )

    @property
    def frames_per_chunk(self) -> int:
        """Number of frames of every message but the last."""
        frames = SYMBOLS_PER_CHUNK // math.prod(self.shape)
        return max(frames // self.batch_size, 1) * self.batch_size

    @property
    def num_chunks(self) -> int:
        """Number of messages."""
        return -(-self.num_frames // self.frames_per_chunk)

    @property
    def chunks(self) -> list[int]:
        """Number of frames of every message."""
        starts = range(0, self.num_frames, self.frames_per_chunk)
        return [min(self.frames_per_chunk, self.num_frames - start) for start in starts]

    def build(self) -> Density:
        """Return the untrained density, on the CPU."""
        return untrained(self.density, self.shape, self.levels, temporal=self.temporal)

    @property
    def coding(self) -> dict[str, Any]:
        """Arguments of ``encode`` and ``decode``."""
        return {"batch_size": self.batch_size, "learn": self.learn, "num_envs": self.num_envs}


def untrained(
    config: DensityConfig, shape: tuple[int, int], levels: int, *, temporal: bool
) -> Density:
    """Return the density of a config, given the frames before or of single frames, on the CPU."""
    if not temporal:
        return config.build(shape=shape, levels=levels)
    if not isinstance(config, TemporalDensityConfig):
        name = type(config).__name__.removesuffix("Config")
        raise UsageError(
            f"The density {name} is of single frames and cannot be given those before; build one "
            "that can, such as cts, or leave out temporal."
        )
    return config.build_temporal(shape=shape, levels=levels)


def header_of(symbols: Symbols, config: DensityConfig, density: Density, **settings: Any) -> Header:
    """Return the header of an archive of symbols, coded by a density with this config."""
    settings["temporal"] = isinstance(density, TemporalDensity)
    return Header(
        env_name=symbols.recording.env_name,
        num_frames=len(symbols),
        shape=symbols.shape,
        levels=symbols.levels,
        density=config,
        made_with=made_with(density),
        num_envs=symbols.recording.manifest.num_envs,
        **settings,
    )


def made_with(density: Density) -> dict[str, str]:
    """Return the versions and hardware on which a density's probabilities depend, bit for bit.

    Counts are added and divided alike everywhere; the kernels of a network are not.
    """
    found = {"reverie": str(package_version())}
    if isinstance(density, TrainableDensity):
        found["torch"] = torch.__version__
        found["cpu"] = cpu_name().rpartition(", ")[0]
        found["kernels"] = torch.backends.cpu.get_cpu_capability()
    return found


def digest_of_state(state: Any) -> str:
    """Return the SHA-256 of a state: of its names, its tensors and its plain values."""
    digest = hashlib.sha256()

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, x in items:
                add(f"{name}.{key}", x)
            return
        text = repr(value)
        if isinstance(value, Tensor):
            text = f"{value.dtype} {tuple(value.shape)}"
        digest.update(f"{name}={text};".encode())
        if isinstance(value, Tensor):
            digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())

    add("", state)
    return digest.hexdigest()


def write_archive(
    path: Path,
    header: Header,
    density: Density,
    symbols: Symbols | UInt8[Tensor, "N H W"],
    show: Callable[[int], object] = lambda done: None,
) -> int:
    """Write an archive of all symbols, and return its size in bytes.

    The file has its name only when it is complete. ``show`` is called with the number of coded
    frames. Raises UsageError for a density that cannot code.
    """
    require_conditionals(density)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(MAGIC + _chunk(zlib.compress(to_json(to_values(header)).encode(), 9)))
        done = 0
        for count in header.chunks:
            message = encode(
                density,
                symbols[done : done + count],
                **header.coding,
                show=partial(_show_from, show, done),
            )
            file.write(_chunk(message))
            done += count
        return file.tell()


class Archive:
    """An archive, of which every byte has been checked.

    Raises UsageError for a file that is no archive, is damaged, has another format or needs modules
    that are not imported.

    Example::

        archive = Archive("runs/data/pong.reverie")
        symbols = archive.read(archive.header.build())
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise UsageError(
                f"{path} is no file; name an archive of `reverie compress`, and copy one that "
                "comes through a pipe into a file."
            )
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
        if not data.startswith(MAGIC):
            raise UsageError(
                f"{path} is no archive of `reverie compress`: it does not begin as one does."
            )
        first, *self.messages = _chunks(self.path, data[len(MAGIC) :])
        try:
            values = dict(parse_compressed(first))
        except (ValueError, TypeError) as error:
            raise UsageError(f"The header of {path} is damaged ({error}).") from error
        if values.get("format") != ARCHIVE_FORMAT:
            raise UsageError(
                f"{path} has format {values.get('format')}, and this version of reverie reads "
                f"format {ARCHIVE_FORMAT}; decompress it with the version that wrote it."
            )
        self.header = decode_file(Header, self.path, values, values.get("imports", ()))
        if len(self.messages) != self.header.num_chunks:
            raise UsageError(
                f"{path} is truncated: it has {len(self.messages)} of {self.header.num_chunks:,} "
                "chunks of frames; copy it again."
            )

    def check_density(self, density: Density) -> None:
        """Raise UsageError, which names the differences, unless the density can decode it here."""
        here = made_with(density)
        differences = [
            f"{name} {there}, here {here.get(name)}"
            for name, there in self.header.made_with.items()
            if there != here.get(name)
        ]
        if differences:
            raise UsageError(
                f"{self.path} was written with {'; '.join(differences)}; the probabilities of its "
                f"density {type(self.header.density).__name__.removesuffix('Config')} differ "
                "between them, so decompress it where it was written."
            )
        if self.header.weights and digest_of_state(density.state_dict()) != self.header.weights:
            raise UsageError(
                f"{self.path} was coded by a pretrained density with the digest "
                f"{self.header.weights[:12]}, and this one's is "
                f"{digest_of_state(density.state_dict())[:12]}; name the pretraining that coded "
                f"it, which was {self.header.pretrained}, as --init-from."
            )

    def read(
        self, density: Density, show: Callable[[int], object] = lambda done: None
    ) -> UInt8[Tensor, "N H W"]:
        """Return the symbols, decoded by a density in the state of the one that coded them.

        Raises UsageError if the density is another, or computes other probabilities.
        """
        self.check_density(density)
        header, frames = self.header, list[Tensor]()
        done = 0
        for message, count in zip(self.messages, header.chunks, strict=True):
            try:
                if unpack(density, message)[0] != count:
                    raise NotReproduced(density)
                part = decode(
                    density,
                    message,
                    **header.coding,
                    show=partial(_show_from, show, done),
                )
            except NotReproduced as error:
                raise UsageError(f"{self.path} cannot be decompressed: {error}.") from error
            frames.append(part)
            done += count
        return torch.cat(frames)


def _chunk(data: bytes) -> bytes:
    return CHUNK.pack(len(data), zlib.crc32(data)) + data


def _chunks(path: Path, data: bytes) -> Iterator[bytes]:
    """Yield every chunk; raises UsageError, which names its number, for one that was changed."""
    position, number = 0, 0
    while position < len(data) or not number:
        number += 1
        begin = position + CHUNK.size
        size, checksum = CHUNK.unpack(data[position:begin]) if begin <= len(data) else (1, 0)
        chunk = data[begin : begin + size]
        if len(chunk) < size or zlib.crc32(chunk) != checksum:
            raise UsageError(
                f"{path} is truncated or damaged: its chunk {number} is not as it was written; "
                "copy it again."
            )
        yield chunk
        position = begin + size


def _show_from(show: Callable[[int], object], start: int, coded: int) -> None:
    """Show the number of frames that are coded in all, of which ``start`` are in earlier chunks."""
    show(start + coded)
