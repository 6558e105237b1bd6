"""An adversarial loss of predicted frames, beside the squared error.

The mean of the possible next frames has the least squared error, and is blurred. A discriminator
learns to tell (observation, action, predicted frame) from (observation, action, true frame), and
the predictor to be taken for true (Mathieu et al. 2016, "Deep multi-scale video prediction beyond
mean square error"). The discriminator D has the hinge loss (Lim & Ye 2017, "Geometric GAN", eq. 21)

    max(0, 1 - D(true)) + max(0, 1 + D(predicted)),

and the predictor -D(predicted). The best D is 1 for frames that are more likely to be true than
predicted, and -1 for the others; its loss is 2 - 2 TV, with the total variation distance TV of the
two distributions of frames.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import relu

from ..state import HasState
from .encoder_decoder import ARCHITECTURES, Encoder, initialize

BETAS = (0.5, 0.9)
"""Decay rates of Adam's moments."""


class Discriminator(nn.Module):
    """Score of a frame after an observation and an action: positive if it is taken for true."""

    def __init__(self, obs_shape: tuple[int, int, int], num_actions: int, channels: int) -> None:
        super().__init__()
        size = ARCHITECTURES["small"]
        rows, columns = size.min_frame
        if obs_shape[1] < rows or obs_shape[2] < columns:
            size = ARCHITECTURES["tiny"]
        self.encoder = Encoder(size, (obs_shape[0] + channels, *obs_shape[1:]))
        self.layers = nn.Sequential(
            nn.Linear(size.hidden + num_actions, size.hidden), nn.ReLU(), nn.Linear(size.hidden, 1)
        )

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        frame: Float[Tensor, "B C H W"],
    ) -> Float[Tensor, " B"]:
        """Return the scores, float32."""
        features = self.encoder(torch.cat([obs, frame], 1))
        score: Tensor = self.layers(torch.cat([features, action], 1))
        return score[:, 0].float()


class Adversary(HasState):
    """A discriminator with an optimizer of its own, and both losses."""

    STATE = ("discriminator", "optimizer")

    def __init__(
        self,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
        learning_rate: float,
        device: torch.device | str,
    ) -> None:
        self.discriminator = Discriminator(obs_shape, num_actions, channels)
        initialize(self.discriminator)
        self.discriminator.to(device)
        parameters = self.discriminator.parameters()
        self.optimizer = torch.optim.Adam(parameters, learning_rate, BETAS, fused=True)

    def losses(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        predicted: Float[Tensor, "B C H W"],
        true: Float[Tensor, "B C H W"],
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return the losses of the predictor and of the discriminator.

        The first has no gradient for the discriminator, and the second none for the predictor.
        """
        obs = obs.detach()
        weights = {name: x.detach() for name, x in self.discriminator.named_parameters()}
        generator_loss = -functional_call(self.discriminator, weights, (obs, action, predicted))
        hinge = hinge_loss(
            self.discriminator(obs, action, true),
            self.discriminator(obs, action, predicted.detach()),
        )
        return generator_loss, hinge


def hinge_loss(true: Float[Tensor, "*s"], predicted: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return the discriminator's loss for its scores of true and of predicted frames."""
    return relu(1 - true) + relu(1 + predicted)
