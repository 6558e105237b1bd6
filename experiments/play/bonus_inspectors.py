"""Inspectors of exploration bonuses: counts, bonus, and the surprise of every pixel.

The bonus keeps learning from the played frames, as in training, but its state is not saved.
"""

from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...agents.bonuses.density_bonus import FrameDensity, PseudoCount
from ...agents.bonuses.visit_counts import VisitCounts
from ...envs.interface import TimeStep
from ...world_models.density.quantization import grayscale
from ...world_models.interface import PixelwiseDensity
from ..evaluation.images import overlay_heat_map, resized
from ..evaluation.video import Image
from .context import Inspection, StepContext
from .frame_completion import FrameCompletion, draw_symbols
from .panels import Images, Panel, Picture, Table

NOT_SAVED = "counts continue during play and are not saved"


@runtime_checkable
class HasDensity(Protocol):
    """A bonus computed from the log-probability of frames."""

    density: FrameDensity

    def bonus_from_log_probs(
        self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]
    ) -> Tensor: ...


B = TypeVar("B")


class CountingInspector(Generic[B]):
    """Base of the inspectors of bonuses, which learn each frame once."""

    def __init__(self, bonus: B) -> None:
        self.bonus = bonus
        self.timestep = -1
        self.inspection = Inspection()

    def inspect(self, context: StepContext) -> Inspection:
        if context.timestep != self.timestep:
            self.timestep = context.timestep
            self.inspection = Inspection(tuple(self.observe(context.step)))
        return self.inspection

    def observe(self, step: TimeStep) -> list[Panel]:
        """Let the bonus learn the newest frame, and return the panels."""
        raise NotImplementedError


class DensityBonusInspector(CountingInspector[HasDensity]):
    """The current frame's surprise in total and per pixel, its pseudo-count and its bonus.

    Below them is the frame as the density completes it, where the user has erased pixels.
    """

    def __init__(self, bonus: HasDensity) -> None:
        super().__init__(bonus)
        self.completion = FrameCompletion(bonus.density)

    def inspect(self, context: StepContext) -> Inspection:
        completion = self.completion.panel(context)  # before the density learns the frame
        return Inspection((*super().inspect(context).panels, completion))

    def observe(self, step: TimeStep) -> list[Panel]:
        frame_density = self.bonus.density
        quantizer = frame_density.quantizer
        symbols = quantizer(step.frame)
        density, nats = frame_density.density, None
        if isinstance(density, PixelwiseDensity):
            nats = -density.pixel_log_probs(symbols)[0].float().cpu().numpy()
        if bool(step.first[0]):  # as in training, a first frame has no bonus and is not learned
            rows = [("pseudo-count", "first frame, not counted")]
        else:
            before, after = frame_density.observe(step.frame)
            rows = [("surprise, nats per frame", f"{-float(before[0]):,.1f}")]
            if isinstance(self.bonus, PseudoCount):
                count = float(self.bonus.count(before, after)[0])
                rows.append(("pseudo-count", f"{count:,.2f}" if np.isfinite(count) else "infinite"))
            bonus = float(self.bonus.bonus_from_log_probs(before, after)[0])
            rows.append(("bonus", f"{bonus:.4f}"))
        rows.append(("frames learned", f"{frame_density.num_frames:,}"))
        counts = Table(f"Counts of {frame_density.name}", tuple(rows), NOT_SAVED)
        if nats is None:
            note = "not available per pixel: this density bounds the probability of whole frames"
            return [counts, Table("Surprise", (), note)]
        shown = quantizer.gray(symbols) if quantizer.planes else grayscale(step.frame)
        frame: Image = shown[0].cpu().numpy()
        quantized = draw_symbols(quantizer, symbols[0].cpu())
        pictures = (
            Picture(resized(quantized, frame.shape), "input of the density"),
            Picture(overlay_heat_map(frame, nats), "-log p of each pixel"),
        )
        return [counts, Images("Surprise", pictures, f"maximum: {nats.max():.1f} nats")]


class VisitCountsInspector(CountingInspector[VisitCounts]):
    """The visits of the current frame's hash code or of its true state, and its bonus."""

    def observe(self, step: TimeStep) -> list[Panel]:
        inputs = self.bonus.inputs(step)
        bonus = float(self.bonus.observe(inputs)[0])
        (visits,) = self.bonus.num_visits(self.bonus.code(inputs))
        rows = (
            ("visits", f"{visits:,}"),
            ("bonus", f"{bonus:.4f}"),
            ("distinct", f"{len(self.bonus.counts):,}"),
        )
        return [Table(f"Counts of {type(self.bonus).__name__}", rows, NOT_SAVED)]
