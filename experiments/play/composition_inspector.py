"""Inspector of models that compose a frame in steps: the frame after each, and the boxes."""

from typing import Any

import numpy as np
import torch

from ...agents.bonuses.density_bonus import FrameDensity
from ...world_models.density.neural import NeuralDensity
from ...world_models.latents.composition import Composer, Composition
from ...world_models.representation.variational import VariationalRepresentation
from ..evaluation.box_drawings import boxes_of, draw_boxes, step_images
from .context import Inspection, StepContext
from .panels import Images, Picture

MAX_SHOWN = 8
"""Steps that are shown at most."""


def composer_of(part: Any) -> Composer | None:
    """Return the model of a representation or of a density if it composes frames in steps."""
    model: Any = None
    if isinstance(part, VariationalRepresentation):
        model = part.model
    elif isinstance(part, FrameDensity) and isinstance(part.density, NeuralDensity):
        model = part.density.net
    return model if isinstance(model, Composer) else None


class CompositionInspector:
    """The observation, composed step by step; each step has the color of its box."""

    def __init__(self, part: VariationalRepresentation | FrameDensity) -> None:
        self.part = part

    def inspect(self, context: StepContext) -> Inspection:
        channels = 1 if isinstance(self.part, FrameDensity) else context.step.frame.shape[1]
        composition = self._compose(context)
        images, boxes = step_images(composition, channels=channels), boxes_of(composition)
        presence = composition.presence[:, 0].tolist()
        shown = np.linspace(0, len(images) - 1, min(len(images), MAX_SHOWN)).round().astype(int)
        pictures = []
        for step in shown.tolist():
            image = images[step] if boxes is None else draw_boxes(images[step], boxes.of_step(step))
            percent = f", {presence[step]:.0%}" * (min(presence) < 1)
            pictures.append(Picture(image, f"step {step + 1}{percent}"))
        note = "the frame after each step" + ", and the box that it writes" * (boxes is not None)
        note += "; in percent, the probability that it writes" * (min(presence) < 1)
        title = f"Composition by {type(composer_of(self.part)).__name__}"
        return Inspection((Images(title, tuple(pictures), note),), boxes=boxes)

    @torch.no_grad()
    def _compose(self, context: StepContext) -> Composition:
        """Compose what the part is given of the timestep."""
        part = self.part
        if isinstance(part, FrameDensity):
            frames = part.quantizer(context.step.frame)
            net, device = part.density.net, part.density.device  # type: ignore[attr-defined]
        else:
            frames, net, device = context.step.obs, part.model, part.device
        composition: Composition = net.compose(net.prepare(frames.to(device)))
        return composition
