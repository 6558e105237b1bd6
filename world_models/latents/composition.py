"""How a model composes a frame in steps: glimpses, objects, or levels of detail."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Composition:
    """The reconstruction of B frames in T steps, by the most probable codes."""

    images: Float[Tensor, "T B *frame"]
    """Each frame after each step, in 0..1."""
    boxes: Float[Tensor, "T B 4"] | None
    """Top, left, bottom and right edge of what a step writes, in pixels from the frame's top left
    corner; they may lie outside the frame. None if a step writes everywhere."""
    presence: Float[Tensor, "T B"]
    """Probability that a step writes anything."""


@runtime_checkable
class Composer(Protocol):
    """A latent-variable model that composes a frame in steps."""

    def compose(self, x: Tensor) -> Composition:
        """Reconstruct frames, given the values of their pixels as ``prepare`` returns them."""
