"""A trained density of the gallery, with the frames that it is measured on."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.prng import seeded
from ...world_models.density.quantization import FrameQuantizer
from ..datasets.dataset import Recording
from ..evaluation.frame_bits import log_probs
from ..runs.run import Run
from ..training.densities import DensityPretraining
from .gallery_options import Sizes

FLIP_RATE = 0.1
"""Share of the pixels of a noisy frame that are another symbol."""
SCORED, SAMPLED = 25, 64
"""Frames that are scored, and sampled, at once."""


class TimeIsUp(Exception):
    """A measurement has taken as long as it may."""


@dataclass(frozen=True)
class Cell:
    """A cell of the gallery: the text that is shown, and the numbers behind it."""

    shown: str
    numbers: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)
    """By name: frames of symbols, uint8 [n h w], nats of their pixels, float [n h w], or images,
    uint8 [n h w 3]."""


class Subject:
    """A finished pretraining of a density, to be measured.

    Raises UsageError if the run has no checkpoint.
    """

    def __init__(self, job: DensityPretraining, folder: Path, sizes: Sizes) -> None:
        self.job, self.run, self.sizes = job, Run(folder), sizes
        state = self.run.checkpoints.load()
        if state is None:
            raise UsageError(f"{folder} has no checkpoint yet; pretrain it first.")
        self.state = state
        self.recording = Recording(*job.data)
        self.quantizer: FrameQuantizer = job.quantizer(self.recording.manifest)
        self.held_out = held_out_frames(job, sizes.held_out)
        """In random order, so that the first ones are a sample of all."""
        self.deadline = math.inf
        """By ``time.monotonic``: when a column should end, which then measures fewer frames."""

    def density(self) -> Any:
        """Return the trained density; each call returns another copy."""
        density = self.job.build(self.recording.manifest, torch.device("cpu"))
        density.load_state_dict(self.state["model"])
        return density

    @property
    def num_first(self) -> int:
        """Updates of the first pass over the training frames."""
        return updates_of_a_pass(self.job)

    def in_time(self, count: int, at_once: int) -> Iterator[slice]:
        """Yield slices of ``count`` frames, at least one, until the deadline."""
        for start in range(0, count, at_once):
            yield slice(start, min(start + at_once, count))
            if time.monotonic() > self.deadline:
                return

    @cached_property
    def scores(self) -> tuple[Float[Tensor, " n"], float]:
        """log p(x) of held-out frames, as many as are scored in time, and frames per second."""
        density, parts = self.density(), list[Float[Tensor, " n"]]()
        begin = time.perf_counter()
        for rows in self.in_time(len(self.held_out), SCORED):
            parts.append(log_probs(density, self.held_out[rows]))
            if len(parts) == 1:  # which also compiles and allocates
                first, begin = time.perf_counter() - begin, time.perf_counter()
        num_later = sum(map(len, parts[1:]))
        if not num_later:
            return parts[0], len(parts[0]) / first
        return torch.cat(parts), num_later / (time.perf_counter() - begin)

    @cached_property
    def samples(self) -> tuple[UInt8[Tensor, "n h w"], float]:
        """Frames sampled from the density, as many as are in time, and frames per second."""
        density, begin = self.density(), time.perf_counter()
        slices = self.in_time(self.sizes.samples, SAMPLED)
        x = torch.cat([density.sample(rows.stop - rows.start).cpu() for rows in slices])
        return x, len(x) / (time.perf_counter() - begin)

    @cached_property
    def noisy(self) -> UInt8[Tensor, "n h w"]:
        """Held-out frames of whose pixels a share is another symbol."""
        x, levels = self.held_out[: self.sizes.completed], self.quantizer.levels
        with seeded(self.job.seed, torch.device("cpu")):
            flips = torch.rand(x.shape) < FLIP_RATE
            shift = torch.randint(1, levels, x.shape)
        return torch.where(flips, (x + shift) % levels, x).to(torch.uint8)


def updates_of_a_pass(job: DensityPretraining) -> int:
    """Return the number of whole minibatches of the training frames."""
    return len(job.rows(Recording(*job.data, cache_bytes=0), "train")) // job.batch_size


def held_out_frames(job: DensityPretraining, count: int) -> UInt8[Tensor, "n h w"]:
    """Return up to ``count`` held-out frames in random order, the same for every density."""
    x = job.spaced_frames(Recording(*job.data), "held-out", count)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def of_frames(count: int, most: int) -> str:
    """Return the number of frames that were measured, if the time was too short for all."""
    return f" (of {count:,} frames)" * (count < most)


def most_frequent(samples: UInt8[Tensor, "n B h w"], levels: int) -> UInt8[Tensor, "B h w"]:
    """Return the most frequent symbol of each pixel."""
    counts = np.stack([(samples == level).sum(0).numpy() for level in range(levels)])
    return torch.from_numpy(counts.argmax(0).astype(np.uint8))
