"""The fully connected baseline of Oh et al. 2015, the action concatenated to a hidden layer."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...envs.checks import refuse
from ...envs.interface import Carry
from .feedforward import SMALL, TINY
from .frame_network import FrameNetwork, FrameOutput
from .frame_predictor import FramePredictorConfig


@dataclass(frozen=True)
class MLPPredictorConfig(FramePredictorConfig):
    """A multilayer perceptron from an observation and an action to a frame."""

    hidden: tuple[int, int, int, int] = (400, 2048, 2048, 400)
    """Widths; the action is concatenated after the second layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.hidden) < 1:
            refuse(self, "predictor", "hidden", "of widths of 1 or more")

    def build_network(
        self, obs_shape: tuple[int, int, int], num_actions: int, channels: int
    ) -> FrameNetwork:
        return MLPNetwork(self.hidden, obs_shape, num_actions, channels)


SMALL_MLP = MLPPredictorConfig(**SMALL.training_settings(learning_rates=(3e-4, 1e-4, 5e-5)))
"""With as many updates as the small feed-forward network, at lower learning rates: at its rates
training diverges."""

TINY_MLP = MLPPredictorConfig(hidden=(128, 256, 256, 128), **TINY.training_settings())
"""For frames of a few pixels, with the schedule of the tiny feed-forward network."""


class MLPNetwork(FrameNetwork):
    """Fully connected layers from pixels to pixels."""

    def __init__(
        self,
        hidden: tuple[int, int, int, int],
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
    ) -> None:
        super().__init__()
        self.num_features, self.frame_shape = hidden[3], (channels, *obs_shape[1:])
        self.obs_layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(obs_shape), hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
        )
        self.action_layers = nn.Sequential(
            nn.Linear(hidden[1] + num_actions, hidden[2]),
            nn.ReLU(),
            nn.Linear(hidden[2], hidden[3]),
            nn.ReLU(),
        )
        self.output = nn.Linear(hidden[3], math.prod(self.frame_shape))

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        features = self.action_layers(torch.cat([self.obs_layers(obs), action], 1))
        frame = self.output(features).unflatten(1, self.frame_shape)
        return FrameOutput(frame, features, carry)
