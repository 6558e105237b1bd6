"""One step of imagination: what a paper's network must say, and what it may remember."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.interface import Memory


@dataclass(frozen=True)
class Imagined:
    """What a net says of one step."""

    frame: Float[Tensor, "B C H W"]
    """In 0..1, less the mean frame."""
    code: Float[Tensor, "B D"]
    """What the heads read."""
    state: Memory
    nats: Float[Tensor, " B"] | float = 0.0
    """What a latent cost."""


class Net(nn.Module):
    """One step of imagination; a subclass is one paper's network."""

    width: int
    """Of the code."""
    context = 1
    """Frames it sees before the first one that it imagines."""
    teaches = False
    """Whether the first phase shows the true frame before each step."""

    def initial(self, n: int, device: torch.device) -> Memory:
        """What it remembers before the first look, besides the look itself."""
        return {}

    def remember(self, look: Float[Tensor, "B K H W"], state: Memory) -> Memory:
        """What it remembers after a look that nothing is to be imagined from."""
        return state

    def imagine(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        state: Memory,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> Imagined:
        """The next frame; ``target`` is the true one while learning."""
        raise NotImplementedError
