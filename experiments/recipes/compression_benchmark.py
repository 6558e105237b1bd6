"""Lossless compression of game frames: a density's archive beside other codecs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...envs.atari.atari import AtariConfig
from ...envs.errors import RunError
from ...world_models.density.capabilities import TemporalDensityConfig
from ...world_models.density.cts import CTSConfig
from ...world_models.interface import DensityConfig
from ..config.roles import part_name
from ..datasets.dataset import Recording
from ..datasets.image_codecs import CODECS, Form
from ..datasets.symbols import Symbols
from ..reporting.committed import process_provenance
from .recipe import Recipe, kept, record_random_play


@dataclass(frozen=True)
class CompressionBenchmark(Recipe):
    """The bytes of the same symbols by several codecs, each in the form that suits it best.

    Frames are of one env, in order, so that codecs with a memory can use the frames before. Times
    are of this process alone, whose codecs run in one thread.
    """

    games: tuple[str, ...]
    frames: int = 10_000
    resolution: int = 42
    levels: int = 8
    density: DensityConfig = CTSConfig()

    kind: ClassVar[str] = "compression"

    @property
    def cost(self) -> str:
        codecs = len(self.densities) + len(CODECS)
        return f"{len(self.games)} x {self.frames:,} frames, {codecs} codecs"

    @property
    def densities(self) -> dict[str, bool]:
        """Whether the density is given the frames before, by the name of the codec."""
        name = part_name(self.density)
        temporal = isinstance(self.density, TemporalDensityConfig)
        return ({name: True} if temporal else {}) | {f"{name} of single frames": False}

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each game and codec; finished ones are kept."""
        rows = []
        about = {"frames": self.frames, "resolution": self.resolution, "levels": self.levels}
        for codec in (*self.densities, *CODECS):
            for game in self.games:
                path = folder / self.kind / f"{game}-{codec.partition(',')[0]}.json"
                settings = (replace(self, games=(game,)), codec)
                rows.append(kept(path, settings, partial(self._row, game, codec, path)))
                yield about | {"rows": rows}

    def _row(self, game: str, codec: str, path: Path) -> dict[str, Any]:
        symbols = self._symbols(game, path.parent / f"{game}-random")
        if codec in CODECS:
            row = smallest(CODECS[codec], symbols[:].numpy())
        else:
            row = self._archive(symbols, path.with_suffix(".reverie"), codec)
        return {"env_name": game, "codec": codec} | row | {"provenance": process_provenance()}

    def _symbols(self, game: str, data: Path) -> Symbols:
        record_random_play(AtariConfig(game), data, frames=self.frames, num_envs=1)
        return Symbols(Recording(data), resolution=self.resolution, levels=self.levels)

    def _archive(self, symbols: Symbols, path: Path, codec: str) -> dict[str, Any]:
        from ...world_models.coding import decode, encode  # imports numba, as archives do
        from ..datasets.archive import Archive, header_of, untrained, write_archive

        temporal = self.densities[codec]
        density = untrained(self.density, symbols.shape, symbols.levels, temporal=temporal)
        header = header_of(symbols, self.density, density)
        frames = symbols[:]
        decode(header.build(), encode(header.build(), frames[:1]))  # compiles what is timed
        start = time.process_time()
        size = write_archive(path, header, density, frames)
        middle = time.process_time()
        archive = Archive(path)
        decoded = archive.read(archive.header.build())
        seconds = middle - start, time.process_time() - middle
        form = "each frame given those before" if temporal else "single frames"
        return row_of(form, size, seconds, torch.equal(decoded, frames))


def smallest(forms: tuple[Form, ...], symbols: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the row of a codec's smallest form."""
    rows = []
    for form in forms:
        if int(symbols.max()) < form.max_levels:
            start = time.process_time()
            data = form.encode(symbols)
            middle = time.process_time()
            decoded = form.decode(data, symbols.shape)
            seconds = middle - start, time.process_time() - middle
            size, equal = sum(map(len, data)), np.array_equal(decoded, symbols)
            rows.append(row_of(form.name, size, seconds, equal))
    return min(rows, key=lambda row: int(row["bytes"]))


def row_of(form: str, size: int, seconds: tuple[float, float], lossless: bool) -> dict[str, Any]:
    """Return a row of the result; raises RunError if the codec has lost something."""
    if not lossless:
        raise RunError(f"The form '{form}' does not decode to the frames that were coded.")
    encode, decode = seconds
    return {"form": form, "bytes": size, "encode_seconds": encode, "decode_seconds": decode}
