"""Pretraining of densities, with the bits per pixel of held-out frames and a figure.

Frames are quantized to symbols as those of an exploration bonus are. A network takes gradient steps
on minibatches of shuffled frames. A density that counts instead observes the same minibatches, each
frame once, and is complete after one pass: the counts of a second one would claim frames that were
never seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ...envs.batched_env import spec_of
from ...envs.checks import at_least, check, within
from ...envs.interface import EnvConfig, EnvSpec, Metrics
from ...world_models.density.capabilities import PixelwiseDensity, TrainableDensity
from ...world_models.density.pixelcnn import PixelCNNConfig
from ...world_models.density.quantization import FrameQuantizer
from ...world_models.interface import Density, DensityConfig
from ...world_models.precision import FLOAT32, Precision
from ..datasets.batches import Batches
from ..datasets.dataset import Recording, Split
from ..datasets.writer import Manifest
from ..evaluation.frame_bits import frame_bits, log_probs
from ..evaluation.frame_figures import frame_rows
from ..runs.run import Run
from .pretrain import Pretraining

NUM_QUICK, NUM_HELD_OUT = 64, 500
"""Held-out frames that are scored before each row of metrics, and at the end."""


@dataclass(frozen=True)
class DensityPretraining(Pretraining):
    """Pretraining of a density on recorded frames."""

    role = "density"

    density: DensityConfig = PixelCNNConfig()
    num_updates: int = 5_000
    """Gradient steps; a density that counts ends after one pass over the frames."""
    resolution: int = 42
    """Rows and columns that frames are downsampled to; smaller frames keep their size."""
    levels: int = 8
    """Gray levels that frames are quantized to; frames of planes have one more than planes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", at_least(1), "resolution", "batch_size")
        check(self, "", within(2, 256), "levels")

    def build(
        self, manifest: Manifest, device: torch.device, precision: Precision = FLOAT32
    ) -> Density:
        quantizer = self.quantizer(manifest)
        return self.density.build(
            shape=quantizer.shape,
            levels=quantizer.levels,
            seed=self.seed,
            device=device,
            precision=precision,
        )

    def quantizer(self, manifest: Manifest) -> FrameQuantizer:
        """Return what turns the recorded frames into symbols, as in an exploration bonus."""
        spec = _spec(manifest.env)
        return FrameQuantizer(spec, resolution=self.resolution, levels=self.levels)

    def symbols(self, recording: Recording) -> Callable[[Tensor], Tensor]:
        """Return a function from rows of the recording to the symbols of their frames, [B h w]."""
        manifest = recording.manifest
        quantizer, channels = self.quantizer(manifest), _spec(manifest.env).channels

        def load(rows: Int64[Tensor, " B"]) -> UInt8[Tensor, "B h w"]:
            return quantizer(recording.frames(rows)[:, -channels:])  # the newest of a stored stack

        return load

    def spaced_frames(
        self, recording: Recording, split: Split, max_count: int
    ) -> UInt8[Tensor, "M h w"]:
        """Return the symbols of up to ``max_count`` frames of a split, evenly spaced."""
        rows = self.rows(recording, split)
        return self.symbols(recording)(rows[:: -(-len(rows) // max_count)])

    def batches(self, recording: Recording, model: Density) -> Batches[UInt8[Tensor, "B h w"]]:
        rows, load = self.rows(recording, "train"), self.symbols(recording)
        return Batches(rows, self.batch_size, load, seed=self.seed)

    def is_complete(self, model: Density, batches: Batches[Any]) -> bool:
        return not isinstance(model, TrainableDensity) and batches.epochs > 0

    def update(self, model: Density, batch: UInt8[Tensor, "B h w"]) -> Metrics:
        """Learn a minibatch; the metric is the surprise of its frames before."""
        if isinstance(model, TrainableDensity):
            return model.update(batch)
        before, _ = model.observe(batch)
        return {"density/nats_per_pixel": -before.mean() / batch[0].numel()}

    def evaluate(self, model: Density, recording: Recording) -> Metrics:
        """Return the bits per pixel of some held-out frames."""
        x = self.spaced_frames(recording, "held-out", NUM_QUICK)
        bits = frame_bits(self.density, log_probs(model, x), x[0].numel())
        return {"bits_per_pixel": bits["bits_per_pixel"]}

    def finish(self, run: Run, model: Density, recording: Recording, device: torch.device) -> None:
        """Write ``held_out.json`` with the bits per pixel, and a figure with samples."""
        x = self.spaced_frames(recording, "held-out", NUM_HELD_OUT)
        bits = frame_bits(self.density, log_probs(model, x), x[0].numel())
        run.write_json("held_out.json", bits)
        shown = x[:: max(len(x) // 8, 1)][:8]
        rows = {"held-out": shown, "samples": model.sample(len(shown)).cpu()}
        surprise: dict[str, Tensor] = {}
        if isinstance(model, PixelwiseDensity):
            surprise["surprise of each pixel"] = -model.pixel_log_probs(shown).cpu()
        frame_rows(
            rows, surprise, self.quantizer(recording.manifest), run.folder / "figures/density.png"
        )


@lru_cache
def _spec(env: EnvConfig) -> EnvSpec:
    return spec_of(env)
