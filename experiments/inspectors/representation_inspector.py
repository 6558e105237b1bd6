"""Inspector of a representation: reconstructions, and latents that the user can change."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...world_models.interface import Representation
from ...world_models.representation.variational import VariationalRepresentation
from ..evaluation.screen import frame_to_image
from ..evaluation.video import Image
from .context import Inspection, StepContext
from .panels import Images, Picture, Slider


class RepresentationInspector:
    """The frame, its reconstruction, and the reconstruction with one latent changed by a slider."""

    def __init__(self, representation: VariationalRepresentation) -> None:
        self.representation = representation
        self.latents = _latents_by_effect(representation)
        """Indices of the latents, the one with the strongest effect first."""
        self.rank = 0
        """Index of the changed latent in ``latents``."""
        self.value: float | None = None
        """The changed latent's value; None for the encoded one."""

    def inspect(self, context: StepContext) -> Inspection:
        model, latent = self.representation, self.latents[self.rank]
        code = model.encode(context.observed.obs)[:, : model.model.size]
        model_value = float(code[0, latent])
        changed_code = code.clone()
        changed_code[0, latent] = model_value if self.value is None else self.value
        frame = context.step.frame[0]
        reconstruction, changed = decode_keys(model, torch.cat([code, changed_code]), len(frame))
        low, high = model.model.code_range
        max_rank = len(self.latents) - 1
        pictures = (
            Picture(frame_to_image(frame), "observation"),
            Picture(reconstruction, "reconstruction"),
            Picture(changed, f"latent at {float(changed_code[0, latent]):.2f}"),
        )
        sliders = (
            Slider("latent, strongest effect first", "rank", 0, max_rank, 1, self.rank, 0),
            Slider(f"latent {latent}", "latent", low, high, 0.05, self.value, model_value),
        )
        return Inspection((Images("Representation", pictures, sliders=sliders),))

    def set_slider(self, name: str, value: float | None) -> None:
        """Select a latent by its rank, or set its value."""
        if name == "rank":
            self.rank = min(max(int(value or 0), 0), len(self.latents) - 1)
            self.value = None
        elif name == "latent":
            low, high = self.representation.model.code_range
            self.value = None if value is None else min(max(value, low), high)


@torch.no_grad()
def decode_keys(
    representation: Representation, keys: Float[Tensor, "B D"], channels: int
) -> list[Image]:
    """Decode keys to frames of ``channels``, of each stack the newest; [] without a decoder."""
    if not isinstance(representation, VariationalRepresentation):
        return []
    net = representation.model
    images: Tensor = net.image(keys[:, : net.size].to(representation.device))
    frames = (images[:, -channels:].clamp(0, 1) * 255).round().to(torch.uint8)
    return list(map(frame_to_image, frames))


@torch.no_grad()
def _latents_by_effect(model: VariationalRepresentation) -> list[int]:
    """Sort latents by the change of the decoded frame between their bounds, largest first."""
    low, high = model.model.code_range
    decoded = []
    for bound in (low, high):
        codes = torch.full((model.model.size,) * 2, (low + high) / 2, device=model.device)
        decoded.append(model.model.image(codes.fill_diagonal_(bound)))
    effect = (decoded[1] - decoded[0]).abs().flatten(1).mean(1)
    return list(map(int, effect.argsort(descending=True)))
