"""How often AIR counts the sprites of synthetic frames right, after minutes of one processor.

A frame is a fixed background and 0, 1 or 2 sprites of several shapes and gray levels, which do not
overlap. Counts are learned from frames alone (Eslami et al. 2016, section 3.1).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ...envs.interface import Segment
from ...world_models.latents.air import AIRConfig
from ...world_models.latents.composition import Composer
from ...world_models.representation.variational import VariationalConfig
from ..runs.provenance import code_version
from .recipe import Recipe, kept

SPRITE = 6
"""Rows and columns of a sprite."""


def sprites(
    n: int, seed: int, *, size: int = 32
) -> tuple[UInt8[Tensor, "{n} 1 H W"], Int64[Tensor, " {n}"]]:
    """Return frames of ``size`` x ``size`` pixels, and the number of sprites in each.

    Each number is as probable as the others.
    """
    generator = torch.Generator().manual_seed(seed)

    def randint(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    position = torch.arange(SPRITE)
    row, column, middle = position[:, None], position, position // 2 == SPRITE // 4
    disk = (row - (SPRITE - 1) / 2).square() + (column - (SPRITE - 1) / 2).square() < SPRITE**2 / 4
    shapes = torch.stack([row + column >= 0, middle[:, None] | middle, disk, row >= column])
    stripes = 30 * (torch.arange(size) // 4 % 2) + torch.linspace(0, 60, size)[:, None]
    frames, counts = stripes.to(torch.uint8).repeat(n, 1, 1, 1), randint(3, n)
    for frame, count in zip(frames[:, 0], counts.tolist(), strict=True):
        corners = randint(size - SPRITE + 1, count, 2)
        while count == 2 and (corners[0] - corners[1]).abs().max() < SPRITE:
            corners = randint(size - SPRITE + 1, 2, 2)
        for i, j in corners.tolist():
            shape, level = shapes[int(randint(len(shapes), 1))], 150 + randint(106, 1)
            frame[i : i + SPRITE, j : j + SPRITE][shape] = level.to(torch.uint8)
    return frames, counts


@dataclass(frozen=True)
class SpriteCounting(Recipe):
    """The accuracy of the number of objects that AIR finds, for several seeds."""

    latent: AIRConfig = AIRConfig()
    learning_rate: float = 1e-3
    """At first; it decays to 0."""
    size: int = 32
    """Rows and columns of a frame."""
    num_updates: int = 1000
    batch_size: int = 32
    frames: int = 10_000
    """Frames to learn from; as many as ``held_out`` others are counted."""
    held_out: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2)

    kind: ClassVar[str] = "sprites"

    @property
    def cost(self) -> str:
        return f"{len(self.seeds)} x {self.num_updates:,} updates"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each seed; finished ones are kept."""
        rows = []
        for seed in self.seeds:
            path = folder / self.kind / f"{seed}.json"
            rows.append(kept(path, replace(self, seeds=(seed,)), partial(self._row, seed)))
            yield {
                "size": self.size,
                "num_updates": self.num_updates,
                "batch_size": self.batch_size,
                "held_out": self.held_out,
                "rows": rows,
            }

    def _row(self, seed: int) -> dict[str, Any]:
        # Held-out frames have seeds of their own.
        frames, _ = sprites(self.frames, 2 * seed, size=self.size)
        unseen, truth = sprites(self.held_out, 2 * seed + 1, size=self.size)
        config = replace(
            VariationalConfig.of(self.latent),
            learning_rate=self.learning_rate,
            anneal_updates=self.num_updates,
        )
        model = config.build(obs_shape=(1, self.size, self.size), seed=seed)
        generator, start = torch.Generator().manual_seed(seed), time.process_time()
        for _ in range(self.num_updates):
            chosen = torch.randint(len(frames), (self.batch_size,), generator=generator)
            model.update(Segment.of_observations(frames[chosen]))
        seconds = time.process_time() - start
        assert isinstance(model.model, Composer)
        presence = model.model.compose(model.model.prepare(unseen)).presence
        right = (presence > 0.5).sum(0) == truth
        by_count = [float(right[truth == n].float().mean()) for n in range(int(truth.max()) + 1)]
        return {
            "seed": seed,
            "accuracy": float(right.float().mean()),
            "accuracy_by_count": by_count,
            "processor_seconds": seconds,
            "provenance": code_version(),
        }
