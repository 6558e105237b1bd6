"""A 64-bit name for what was seen."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from envs import dice


def frame_digest(obs: UInt8[Tensor, "N K H W"]) -> Int64[Tensor, " N"]:
    """A hash of each frame stack, equal where all its pixels are."""
    pixels = obs.flatten(1)
    words = torch.nn.functional.pad(pixels, (0, -pixels.shape[1] % 8)).view(torch.int64)
    place = dice.splitmix64(torch.arange(words.shape[1], device=obs.device)) | 1
    mixed = words * place
    mixed = (mixed ^ (mixed >> 32)) * dice.GOLDEN  # a bijection of each word, then their sum
    return dice.splitmix64(mixed.sum(1))
