"""Base class of the networks that predict the next frame from an observation and an action."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...envs.interface import Carry
from .encoder_decoder import initialize


@dataclass(frozen=True)
class FrameOutput:
    """Output of a network for one predicted step."""

    frame: Float[Tensor, "B C H W"]
    """Predicted frame in 0..1, minus the mean frame."""
    features: Float[Tensor, "B D"]
    """Input of the reward and discount heads."""
    carry: Carry
    kl: Float[Tensor, " B"] | float = 0.0
    """KL divergence of the latents in the units of the loss; 0 without latents."""
    loss: Float[Tensor, " B"] | None = None
    """The network's own loss of this frame, in training; None for half the squared error."""


class FrameNetwork(nn.Module):
    """Predicts one frame; a subclass is the network of one paper.

    Raises UsageError for frames that are too small for the layers of its size.
    """

    num_features: int
    """Size of ``FrameOutput.features``."""
    context = 1
    """Observations needed before the first prediction."""
    teacher_forcing = False
    """Whether the first phase of the curriculum feeds true frames instead of predicted ones."""

    def initialize(self) -> None:
        """Draw the weights from torch's global generator, as Oh et al. do."""
        initialize(self)

    def initial(self, n: int, device: torch.device) -> Carry:
        """Return the recurrent state before the first observation."""
        return {}

    def observe(
        self, obs: Float[Tensor, "B K H W"], action: Float[Tensor, "B A"], carry: Carry
    ) -> Carry:
        """Return the recurrent state after an observation and the one-hot action taken there.

        Nothing is predicted from it.
        """
        return carry

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        """Predict the next frame from a one-hot action.

        ``target`` is the true next frame, given in training only, for an approximate posterior.
        """
        raise NotImplementedError
