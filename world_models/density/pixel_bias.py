"""The logits of independent pixels, on which the networks of other densities build.

Most pixels of a game are background. A network that begins at the histogram of its first frames,
and reads how pixels differ from it, learns only what the histogram cannot know.
"""

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor, nn
from torch.nn.functional import one_hot

PRIOR = 0.1
"""Frames that the histogram's uniform prior counts for: few, because most pixels are constant."""
SPEED = 10.0
"""Factor of the learning rate of the logits: they move by nats, the weights of a network do not."""


class PixelBias(nn.Module):
    """Logits of each pixel's symbol, uniform until they are set to those of a histogram."""

    def __init__(self, shape: tuple[int, int], levels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(levels, *shape))

    def forward(self) -> Float[Tensor, "levels H W"]:
        """Return the logits."""
        return SPEED * self.weight

    @torch.no_grad()
    def initialize_from(self, x: UInt8[Tensor, "B H W"]) -> None:
        """Set the logits to the log-frequencies of the symbols in the frames."""
        levels = len(self.weight)
        counts = one_hot(x.long(), levels).sum(0).movedim(-1, 0)
        self.weight.copy_(((counts + PRIOR / levels) / (len(x) + PRIOR)).log() / SPEED)

    def mean(self) -> Float[Tensor, "H W"]:
        """Return the expected symbol of each pixel; no gradient flows."""
        probs = self.forward().detach().softmax(0)
        return probs.movedim(0, -1) @ torch.arange(len(probs)).to(probs)

    def surprise(self, x: Integer[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        """Return the one-hot symbols minus their probabilities; no gradient flows."""
        probs = self.forward().detach().softmax(0)
        return one_hot(x.long(), len(probs)).movedim(-1, 1) - probs
