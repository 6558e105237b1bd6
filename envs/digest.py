"""64-bit hashes of observations."""

from functools import cache

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from . import prng


def frame_digest(obs: UInt8[Tensor, "N K H W"]) -> Int64[Tensor, " N"]:
    """Return a hash of each frame stack; equal stacks have equal hashes."""
    pixels = obs.flatten(1)
    words = torch.nn.functional.pad(pixels, (0, -pixels.shape[1] % 8)).view(torch.int64)
    mixed = words * _multipliers(words.shape[1], obs.device)
    # A bijection of each word, then their sum.
    mixed = (mixed ^ (mixed >> 32)) * prng.GOLDEN_GAMMA
    return prng.splitmix64(mixed.sum(1))


@cache
def _multipliers(count: int, device: torch.device) -> Int64[Tensor, " {count}"]:
    """Return a random odd number for each word of a stack."""
    return prng.splitmix64(torch.arange(count, device=device)) | 1
