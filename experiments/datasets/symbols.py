"""Recorded frames as the symbols that densities read."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.batched_env import spec_of
from ...world_models.density.quantization import FrameQuantizer
from .dataset import Recording

FRAMES_IN_MEMORY = 256
"""Recorded frames that are quantized together."""


class Symbols:
    """The frames of a recording as symbols, in the order of its rows.

    Example::

        symbols = Symbols(Recording("runs/data/pong-random-own-s0"), resolution=42, levels=8)
        frames = symbols[:1000]
    """

    def __init__(self, recording: Recording, *, resolution: int, levels: int) -> None:
        spec = spec_of(recording.manifest.env)
        self.recording, self.channels = recording, spec.channels
        self.quantizer = FrameQuantizer(spec, resolution=resolution, levels=levels)
        self.shape, self.levels = self.quantizer.shape, self.quantizer.levels

    def __len__(self) -> int:
        return len(self.recording)

    def __getitem__(self, rows: slice) -> UInt8[Tensor, "N H W"]:
        """Return the symbols of a range of rows."""
        parts = torch.split(torch.arange(*rows.indices(len(self))), FRAMES_IN_MEMORY)
        frames = (self.recording.frames(part)[:, -self.channels :] for part in parts)
        return torch.cat([self.quantizer(x) for x in frames])
