"""The true state as its own representation: the privileged reference of every key.

Keys are the bytes that the env offers (``TimeStep.privileged``), in place of a code of its frames.
Bytes are no metric: states whose bytes are near may be far apart in play, so a learned key may do
better. What is certain is that equal states have equal keys.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.interface import Metrics, Segment
from ...envs.privileged import true_state_columns
from ..interface import RepresentationConfig
from ..precision import FLOAT32, Precision
from ..state import HasState


@dataclass(frozen=True)
class TrueStateConfig(RepresentationConfig):
    """The bytes of the true state."""

    needs_privileged = True

    names: tuple[str, ...] = ()
    """Bytes of the true state that make the key, as names or patterns such as ball_*; by default
    all."""

    def privileged_columns(self, offered: tuple[str, ...]) -> list[int]:
        return true_state_columns(
            offered,
            self.names,
            part="agent.representation:true-state",
            setting="agent.representation.names",
        )

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "TrueState":
        return TrueState(obs_shape, device)


class TrueState(HasState):
    """key = x / 255, with x the bytes of the true state."""

    segment_length = 0

    def __init__(self, obs_shape: tuple[int, int, int], device: torch.device | str = "cpu") -> None:
        self.dim, self.device = math.prod(obs_shape), torch.device(device)

    def update(self, segment: Segment) -> Metrics:
        return {}

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        return obs.to(self.device).flatten(1) / 255
