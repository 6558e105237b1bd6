"""A small latent-variable model that composes a frame in two steps, with boxes or without."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reverie.world_models.latents.composition import Composition
from reverie.world_models.latents.vae import GaussianVAE, VAEConfig

BOXES = torch.tensor([[2.0, 1.0, 6.0, 4.0], [-3.0, 0.0, 5.0, 9.0]])
"""Of each step; the second one is partly outside frames of 10 x 5 pixels."""
PRESENCE = torch.tensor([1.0, 0.25])


@dataclass(frozen=True)
class ComposingConfig(VAEConfig):
    """A VAE that claims to write its reconstruction in two halves."""

    size: int = 2
    has_boxes: bool = True

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "ComposingVAE":
        model = ComposingVAE(self.pixels(shape, levels), self)
        model.has_boxes = self.has_boxes
        return model


class ComposingVAE(GaussianVAE):
    has_boxes = True

    def compose(self, x: Tensor) -> Composition:
        image = self.image(self.key(x)[:, : self.size])
        return Composition(
            images=torch.stack([image / 2, image]),
            boxes=BOXES[:, None].expand(2, len(x), 4) if self.has_boxes else None,
            presence=PRESENCE[:, None].expand(2, len(x)),
        )
