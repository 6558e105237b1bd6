"""SimHash counts: visit counts by the signs of a random projection.

Tang et al. 2017, "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement
Learning": the pixels of the newest frame, hashed to 256 bits. Similar frames share a code.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ...envs.checks import at_least, check
from ...envs.interface import EnvSpec, TimeStep
from ...world_models.density.quantization import FrameQuantizer
from ...world_models.precision import FLOAT32, Precision
from .bonus import BonusConfig, VarietyCheck
from .visit_counts import VisitCounts


@dataclass(frozen=True)
class SimHashConfig(BonusConfig):
    """Visit counts of hash codes."""

    bits: int = 256
    """Length of a code: more bits distinguish more frames."""
    scale: float | None = None
    """Scale of the bonus; None is the published one, 0.01 x 256 / bits."""
    resolution: int = 42
    """Rows and columns that frames are downsampled to; smaller frames keep their size."""

    def __post_init__(self) -> None:
        check(self, "bonus", at_least(1), "bits", "resolution")
        check(self, "bonus", at_least(0), "scale")

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "SimHash":
        return SimHash(self, spec, seed=seed)


class SimHash(VisitCounts):
    """A bonus of scale n^(-1/2) at the n-th visit of a frame's code."""

    def __init__(self, config: SimHashConfig, spec: EnvSpec, *, seed: int = 0) -> None:
        super().__init__(0.01 * 256 / config.bits if config.scale is None else config.scale)
        self.quantizer = FrameQuantizer(spec, resolution=config.resolution, levels=256)
        generator = torch.Generator().manual_seed(seed)
        rows, columns = self.quantizer.shape
        gaussian = torch.randn(rows * columns, config.bits, generator=generator)
        # Rounded to sixteenths: integer sums are exact, so a code never depends on the batch.
        self.projection = (16 * gaussian).round()
        self.variety = VarietyCheck(
            "SimHash", {"bits": config.bits, "resolution": config.resolution}
        )

    def inputs(self, step: TimeStep) -> UInt8[Tensor, "N C H W"]:
        return step.frame

    def observe(self, inputs: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        codes = self.code(inputs)
        self.variety.update(inputs, codes)
        return self.visit(codes)

    def code(self, inputs: UInt8[Tensor, "n C H W"]) -> Bool[Tensor, "n bits"]:
        """Return the code sign(A x) of each frame, for a fixed Gaussian matrix A.

        x holds the downsampled gray pixels, which are in -128..127 to center them.
        """
        gray = self.quantizer.gray(self.quantizer(inputs))
        pixels = gray.flatten(1).to(torch.float32) - 128
        return pixels @ self.projection > 0
