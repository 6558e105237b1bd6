"""The plain baseline of Oh et al. 2015: hidden layers on the pixels, the action beside them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.checks import refuse
from envs.interface import Memory
from world_models.prediction.feedforward import SMALL
from world_models.prediction.net import Imagined, Net
from world_models.prediction.predictor import CurriculumConfig


@dataclass(frozen=True)
class MLPPredictorConfig(CurriculumConfig):
    """A multilayer perceptron from a look and an action to a frame."""

    hidden: tuple[int, int, int, int] = (400, 2048, 2048, 400)
    """Widths; the action joins in after the second."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.hidden) < 1:
            refuse(self, "predictor", "hidden", "of widths of 1 or more")

    def net(self, obs_shape: tuple[int, int, int], num_actions: int, colours: int) -> Net:
        return MLPNet(self.hidden, obs_shape, num_actions, colours)


SMALL_MLP = MLPPredictorConfig(
    learning_rates=(3e-4, 1e-4, 5e-5), batches=SMALL.batches, updates=SMALL.updates
)
"""As long a schedule as the small feed-forward net's, at rates that do not diverge."""


class MLPNet(Net):
    """Pixels, hidden layers, pixels."""

    def __init__(
        self,
        hidden: tuple[int, int, int, int],
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int,
    ) -> None:
        super().__init__()
        self.width, self.shape = hidden[3], (colours, *obs_shape[1:])
        self.look = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(obs_shape), hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
        )
        self.act = nn.Sequential(
            nn.Linear(hidden[1] + num_actions, hidden[2]),
            nn.ReLU(),
            nn.Linear(hidden[2], hidden[3]),
            nn.ReLU(),
        )
        self.frame = nn.Linear(hidden[3], math.prod(self.shape))

    def imagine(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        state: Memory,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> Imagined:
        code = self.act(torch.cat([self.look(look), action], 1))
        return Imagined(self.frame(code).unflatten(1, self.shape), code, state)
