"""Inspector of models that compose a frame in steps: the frame after each, and the boxes."""

from typing import Any

import torch

from ...agents.bonuses.density_bonus import FrameDensity
from ...world_models.density.neural import NeuralDensity
from ...world_models.latents.composition import Composer
from ...world_models.representation.variational import VariationalRepresentation
from ..evaluation.box_drawings import boxes_of, drawn_steps
from .context import Inspection, StepContext
from .panels import Images, Picture

MAX_SHOWN = 8
"""Steps that are shown at most."""


def composer_of(part: Any) -> Any:
    """Return the model of a representation or of a density, if it composes frames in steps."""
    model = None
    if isinstance(part, VariationalRepresentation):
        model = part.model
    elif isinstance(part, FrameDensity) and isinstance(part.density, NeuralDensity):
        model = part.density.net
    return model if isinstance(model, Composer) else None


class CompositionInspector:
    """The observation, composed step by step; each step has the color of its box."""

    def __init__(self, part: VariationalRepresentation | FrameDensity) -> None:
        self.part, self.model = part, composer_of(part)
        owner: Any = part.density if isinstance(part, FrameDensity) else part
        self.device = owner.device

    @torch.no_grad()
    def inspect(self, context: StepContext) -> Inspection:
        step, frames, channels = context.step, context.step.obs, context.step.frame.shape[1]
        if isinstance(self.part, FrameDensity):
            frames, channels = self.part.quantizer(step.frame), 1
        composition = self.model.compose(self.model.prepare(frames.to(self.device)))
        presence, boxes = composition.presence[:, 0].tolist(), boxes_of(composition)
        percents = ["" if min(presence) == 1 else f", {share:.0%}" for share in presence]
        pictures = tuple(
            Picture(image, f"step {k + 1}{percents[k]}")
            for k, image in drawn_steps(composition, MAX_SHOWN, channels)
        )
        note = "the frame after each step" + ", and the box that it writes" * (boxes is not None)
        note += "; in percent, the probability that it writes" * (min(presence) < 1)
        title = f"Composition by {type(self.model).__name__}"
        return Inspection((Images(title, pictures, note),), boxes=boxes)
