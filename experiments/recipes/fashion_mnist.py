"""Densities of binarized Fashion-MNIST, in nats per image after equal times of training.

Fashion-MNIST (Xiao et al. 2017) has 60,000 training and 10,000 test images of 28 x 28 pixels. An
image is binarized by a Bernoulli draw per pixel, whose probability is the pixel's intensity: anew
whenever it is used (dynamic), or once (static). The test images are drawn once, the same for all.
"""

import gzip
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.prng import fold_in, seeded
from ...world_models.density.capabilities import TrainableDensity
from ...world_models.interface import DensityConfig
from ..datasets.batches import Batches
from ..evaluation.frame_bits import log_probs
from ..reporting.committed import process_provenance
from ..runs.runtime import pick_threads
from .recipe import Recipe, for_minutes, kept

IMAGES = Path("/usr/share/datasets/fashion-mnist")
"""Where the package dataset-fashion-mnist of Debian and Ubuntu has the images."""


@dataclass(frozen=True)
class FashionMNIST(Recipe):
    """The training of densities on the same images for equal times of the processor."""

    densities: Mapping[str, DensityConfig]
    binarization: Literal["dynamic", "static"] = "dynamic"
    minutes: float = 10.0
    """Of processor time in one thread, for each density."""
    batch_size: int = 64
    seed: int = 0
    images: Path = IMAGES

    kind: ClassVar[str] = "fashion-mnist"

    @property
    def cost(self) -> str:
        return f"{len(self.densities)} densities x {self.minutes:g} minutes"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each density; finished ones are kept."""
        rows = []
        about = {"binarization": self.binarization, "minutes": self.minutes}
        for name, config in self.densities.items():
            path = folder / f"{self.kind}-{self.binarization}" / f"{name}.json"
            settings = replace(self, densities={name: config})
            rows.append({"density": name} | kept(path, settings, partial(self.train, config)))
            yield about | {"batch_size": self.batch_size, "seed": self.seed, "rows": rows}

    def train(self, config: DensityConfig) -> dict[str, Any]:
        """Return the nats of the test images, with their standard error over the images."""
        pick_threads(1)
        train, test = (read_images(self.images, name) for name in ("train", "t10k"))
        if self.binarization == "static":
            train = 255 * binarize(train, fold_in(self.seed, -2))
        density = config.build(shape=(28, 28), levels=2, seed=self.seed)
        assert isinstance(density, TrainableDensity)
        batches = Batches(torch.arange(len(train)), self.batch_size, lambda rows: train[rows])
        for images in for_minutes(batches, self.minutes):
            density.update(binarize(images, fold_in(self.seed, batches.count)))
        nats = -log_probs(density, binarize(test, fold_in(self.seed, -1)))
        return {
            "kind": config.kind,
            "updates": batches.count,
            "epochs": batches.count * self.batch_size / len(train),
            "test_images": len(nats),
            "nats": float(nats.mean()),
            "standard_error": float(nats.std() / math.sqrt(len(nats))),
            "provenance": process_provenance(),
        }


def read_images(folder: Path, split: str) -> UInt8[Tensor, "M 28 28"]:
    """Return the images of ``train`` or ``t10k``; raises UsageError if they are not there."""
    path = folder / f"{split}-images-idx3-ubyte.gz"
    if not path.exists():
        raise UsageError(
            f"{path} does not exist; install Fashion-MNIST by `apt-get install "
            "dataset-fashion-mnist`."
        )
    pixels = gzip.decompress(path.read_bytes())[16:]
    return torch.from_numpy(np.frombuffer(pixels, np.uint8).copy()).reshape(-1, 28, 28)


def binarize(images: UInt8[Tensor, "B H W"], seed: int) -> UInt8[Tensor, "B H W"]:
    """Draw each pixel as 1 with a probability of its intensity."""
    with seeded(seed):
        return torch.bernoulli(images / 255).to(torch.uint8)
