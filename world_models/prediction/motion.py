"""Weights of pixels that change: an error of what moves costs more than one of the background."""

from jaxtyping import Float, UInt8
from torch import Tensor


def motion_weights(frames: UInt8[Tensor, "B 2 C H W"], weight: float) -> Float[Tensor, "B C H W"]:
    """Return the weight of each pixel of the second of two successive frames; their mean is 1.

    In proportion, a pixel that differs between the frames weighs 1 + ``weight``, and another 1: a
    moving object counts where it is and where it has been, in all channels. Without a change, all
    weights are 1, and the loss keeps its units beside those of heads and latents.
    """
    moved = (frames[:, 0] != frames[:, 1]).any(1, keepdim=True).expand_as(frames[:, 0])
    weights = 1 + weight * moved.float()
    return weights / weights.mean((1, 2, 3), keepdim=True)
