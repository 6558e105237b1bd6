"""Inspectors of exploration bonuses and densities: counts, bonus, and the surprise of every pixel.

A bonus keeps learning from the played frames, as in training, but its state is not saved. A density
that was pretrained alone does not learn.
"""

from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...agents.bonuses.density_bonus import FrameDensity, PseudoCount
from ...agents.bonuses.visit_counts import VisitCounts
from ...envs.interface import TimeStep
from ...world_models.density.capabilities import PixelwiseDensity
from ...world_models.density.quantization import grayscale
from ..evaluation.images import overlay_heat_map, resized
from ..evaluation.video import Image
from .context import Inspection, StepContext
from .frame_completion import FrameCompletion, draw_symbols
from .learned_parts import PretrainedDensity
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
        surprise = surprise_panel(frame_density, step)  # before the density learns the frame
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
        return [Table(f"Counts of {frame_density.name}", tuple(rows), NOT_SAVED), surprise]


class PretrainedDensityInspector:
    """The current frame's surprise in total and per pixel, and the frame as it is completed."""

    def __init__(self, part: PretrainedDensity) -> None:
        self.density = part.density
        self.completion = FrameCompletion(part.density)

    def inspect(self, context: StepContext) -> Inspection:
        log_prob = self.density.density.log_prob(self.density.quantizer(context.step.frame))
        rows = (
            ("surprise, nats per frame", f"{-float(log_prob[0]):,.1f}"),
            ("frames learned", f"{self.density.num_frames:,}"),
        )
        about = Table(f"Density {self.density.name}", rows, "as it was pretrained")
        surprise = surprise_panel(self.density, context.step)
        return Inspection((about, surprise, self.completion.panel(context)))


def surprise_panel(frame_density: FrameDensity, step: TimeStep) -> Panel:
    """Return the surprise of each pixel of the newest frame, over the frame."""
    quantizer, density = frame_density.quantizer, frame_density.density
    if not isinstance(density, PixelwiseDensity):
        note = "not available per pixel: this density bounds the probability of whole frames"
        return Table("Surprise", (), note)
    symbols = quantizer(step.frame)
    nats = -density.pixel_log_probs(symbols)[0].float().cpu().numpy()
    shown = quantizer.gray(symbols) if quantizer.planes else grayscale(step.frame)
    frame: Image = shown[0].cpu().numpy()
    quantized = draw_symbols(quantizer, symbols[0].cpu())
    pictures = (
        Picture(resized(quantized, frame.shape), "input of the density"),
        Picture(overlay_heat_map(frame, nats), "-log p of each pixel"),
    )
    return Images("Surprise", pictures, f"maximum: {nats.max():.1f} nats")


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
