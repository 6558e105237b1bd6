"""Bidirectional GAN: codes by adversarial inference, without a likelihood of pixels.

Donahue et al. 2017 and, with noise in the encoder, Dumoulin et al. 2017 (ALI). A discriminator sees
pairs of a frame and a code: (x, E(x)) of real frames, or (G(z), z) of codes z ~ N(0, I). Its best
logit is log q(x, z) / p(x, z), and where it cannot tell the two apart, E inverts G.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from ...envs.checks import at_least, check
from ...envs.interface import Metrics, Segment
from ..latents.networks import HIDDEN, Decoder, Encoder
from .self_supervised import SelfSupervisedConfig, Task


@dataclass(frozen=True)
class BiGANConfig(SelfSupervisedConfig):
    """The inverse of an adversarial generator."""

    betas: ClassVar[tuple[float, float]] = (0.5, 0.999)
    """Decay rates of Adam's moments, the published ones."""

    penalty: float = 10.0
    """Weight of half the discriminator's squared gradient at real frames (Mescheder et al. 2018,
    R1). With little of it the discriminator wins, and the codes diverge."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(0), "penalty")

    def task(self, obs_shape: tuple[int, int, int]) -> "BiGAN":
        return BiGAN(self, obs_shape)


class BiGAN(Task):
    """Encoder, generator and discriminator; a generated pixel is in 0..1."""

    def __init__(self, config: BiGANConfig, obs_shape: tuple[int, int, int]) -> None:
        super().__init__(obs_shape, config.dim)
        self.penalty = config.penalty
        channels, *size = obs_shape
        self.generator = Decoder(config.dim, (size[0], size[1]), channels)
        self.discriminator = Discriminator(obs_shape, config.dim)

    @torch.no_grad()
    def initialize_from(self, x: Float[Tensor, "B K H W"]) -> None:
        super().initialize_from(x)
        self.discriminator.frame.initialize_from(x)
        self.generator.bias.copy_(x.mean(0).clamp(0.01, 0.99).logit())

    def generate(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K H W"]:
        """Return the frames of codes."""
        logits: Tensor = self.generator(z)
        return logits.sigmoid()

    def loss(self, segment: Segment) -> tuple[Float[Tensor, ""], Metrics]:
        """Return the loss of the discriminator plus that of encoder and generator.

        The gradient of each is of its own networks alone. Encoder and generator have the labels
        swapped, not the sign ("inverse objective", section 3.4).
        """
        x = self.pixels(segment.obs[:, 0])
        code = self.encoder(x)
        z = torch.randn_like(code)
        frames, codes = torch.cat([x, self.generate(z)]), torch.cat([code, z])
        fixed = frames.detach().requires_grad_(), codes.detach().requires_grad_()
        real, fake = self.discriminator(*fixed).chunk(2)
        slopes = torch.autograd.grad(real.sum(), fixed, create_graph=True)
        penalty = self.penalty / 2 * sum(slope.square().sum() for slope in slopes) / len(x)
        discriminator_loss = log_loss(real, fake)
        weights = {name: w.detach() for name, w in self.discriminator.named_parameters()}
        real, fake = functional_call(self.discriminator, weights, (frames, codes)).chunk(2)
        generator_loss = log_loss(fake, real)
        return discriminator_loss + penalty + generator_loss, {
            "discriminator_loss": discriminator_loss.detach(),
            "generator_loss": generator_loss.detach(),
        }


class Discriminator(nn.Module):
    """Logit of whether a pair of a frame and a code is of a real frame."""

    def __init__(self, obs_shape: tuple[int, int, int], dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.frame = Encoder(obs_shape, hidden)
        self.layers = nn.Sequential(
            nn.Linear(hidden + dim, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(
        self, frame: Float[Tensor, "B K H W"], code: Float[Tensor, "B D"]
    ) -> Float[Tensor, " B"]:
        """Return the logits, float32."""
        logit: Tensor = self.layers(torch.cat([self.frame(frame), code], 1))
        return logit[:, 0].float()


def log_loss(positive: Float[Tensor, " B"], negative: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the cross-entropy in nats of the logits of positive and of negative examples."""
    return softplus(-positive).mean() + softplus(negative).mean()
