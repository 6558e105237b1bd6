"""A trained density of the gallery, with the frames that it is measured on."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.prng import seeded
from ...world_models.density.quantization import FrameQuantizer
from ..datasets.dataset import Recording
from ..runs.run import Run
from ..training.densities import DensityPretraining
from .gallery_options import Sizes

FLIP_RATE = 0.1
"""Share of the pixels of a noisy frame that are another symbol."""


@dataclass(frozen=True)
class Cell:
    """A cell of the gallery: the text that is shown, and the numbers behind it."""

    shown: str
    numbers: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)
    """Frames of symbols, uint8 [n h w], or nats of their pixels, float [n h w], by name."""


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
        self.quantizer: FrameQuantizer = job.quantizer(self.recording)
        self.held_out = job.spaced_frames(self.recording, "held-out", sizes.held_out)
        self._samples: UInt8[Tensor, "n h w"] | None = None
        self.sampling_seconds = 0.0

    def density(self) -> Any:
        """Return the trained density; each call returns another copy."""
        density = self.job.build(self.recording, torch.device("cpu"))
        density.load_state_dict(self.state["model"])
        return density

    @property
    def num_first(self) -> int:
        """Updates of the first pass over the training frames."""
        return updates_of_a_pass(self.job)

    def some_held_out(self, count: int) -> UInt8[Tensor, "n h w"]:
        """Return up to ``count`` held-out frames, evenly spaced, the same for every density."""
        return spaced(self.held_out, count)

    def samples(self) -> UInt8[Tensor, "n h w"]:
        """Return frames sampled from the density, which are sampled once."""
        if self._samples is None:
            density, begin = self.density(), time.perf_counter()
            self._samples = density.sample(self.sizes.samples).cpu()
            self.sampling_seconds = time.perf_counter() - begin
        return self._samples

    @cached_property
    def upper_half(self) -> Bool[Tensor, "n h w"]:
        """The known pixels of frames whose lower half is erased."""
        x = self.some_held_out(self.sizes.completed)
        rows = torch.arange(x.shape[1])[:, None] < x.shape[1] // 2
        return rows.expand(x.shape)

    @cached_property
    def noisy(self) -> UInt8[Tensor, "n h w"]:
        """Held-out frames of whose pixels a share is another symbol."""
        x, levels = self.some_held_out(self.sizes.completed), self.quantizer.levels
        with seeded(self.job.seed, torch.device("cpu")):
            flips = torch.rand(x.shape) < FLIP_RATE
            shift = torch.randint(1, levels, x.shape)
        return torch.where(flips, (x + shift) % levels, x).to(torch.uint8)


def updates_of_a_pass(job: DensityPretraining) -> int:
    """Return the number of whole minibatches of the training frames."""
    return len(job.rows(Recording(*job.data, cache_bytes=0), "train")) // job.batch_size


def spaced(x: UInt8[Tensor, "M h w"], count: int) -> UInt8[Tensor, "n h w"]:
    """Return up to ``count`` frames of x, evenly spaced."""
    return x[:: -(-len(x) // count)]


def most_frequent(samples: UInt8[Tensor, "n B h w"], levels: int) -> UInt8[Tensor, "B h w"]:
    """Return the most frequent symbol of each pixel."""
    counts = np.stack([(samples == level).sum(0).numpy() for level in range(levels)])
    return torch.from_numpy(counts.argmax(0).astype(np.uint8))
