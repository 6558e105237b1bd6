"""The recurrent net of Oh et al. 2015 (section 3.1, right): one frame a step into an LSTM."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.checks import at_least, check
from envs.interface import Memory
from world_models.prediction.feedforward import SMALL
from world_models.prediction.net import Imagined, Net
from world_models.prediction.networks import Decoder, Encoder, Size, Transformation, plan_for
from world_models.prediction.predictor import CurriculumConfig

GATE_CLIP = 0.1  # of the gradients that pass the cell and its output


@dataclass(frozen=True)
class RecurrentConfig(CurriculumConfig):
    """The published network and schedule.

    In the first phase the true frame is shown before each of the predictions.
    """

    size: Size = "published"
    """small is for 84 x 84 grey frames on a CPU, tiny for worlds of a few pixels."""
    context: int = 11
    """Frames seen before the first one is predicted."""
    horizons: tuple[int, ...] = (10, 3, 5)
    batches: tuple[int, ...] = (4, 4, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "context")

    def net(self, obs_shape: tuple[int, int, int], num_actions: int, colours: int) -> Net:
        return RecurrentNet(self, obs_shape, num_actions, colours)


SMALL_RECURRENT = RecurrentConfig(
    size="small",
    learning_rates=SMALL.learning_rates,
    batches=(8, 8, 8),
    updates=SMALL.updates,
)
"""For 84 x 84 grey frames on a CPU, with the schedule of the small feed-forward net."""


class RecurrentNet(Net):
    """Encode the newest frame, remember it, multiply with the action, decode a frame."""

    teaches = True

    def __init__(
        self,
        config: RecurrentConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int,
    ) -> None:
        super().__init__()
        plan = plan_for(config.size, obs_shape)
        self.colours, self.width, self.context = colours, plan.hidden, config.context
        self.encoder = Encoder(plan, (colours, obs_shape[1], obs_shape[2]))
        self.lstm = nn.LSTMCell(plan.hidden, plan.hidden)
        self.transformation = Transformation(plan.hidden, num_actions, plan.hidden)
        self.decoder = Decoder(plan, self.encoder.shapes, colours)

    def initial(self, n: int, device: torch.device) -> Memory:
        zeros = torch.zeros(n, self.width, device=device)
        return {"hidden": zeros, "cell": zeros}

    def remember(self, look: Float[Tensor, "B K H W"], state: Memory) -> Memory:
        features = self.encoder(look[:, -self.colours :])
        hidden, cell = self.lstm(features, (state["hidden"], state["cell"]))
        if hidden.requires_grad:
            for value in (hidden, cell):
                value.register_hook(lambda gradient: gradient.clamp(-GATE_CLIP, GATE_CLIP))
        return {"hidden": hidden, "cell": cell}

    def imagine(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        state: Memory,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> Imagined:
        state = self.remember(look, state)
        code = self.transformation(state["hidden"], action)
        return Imagined(self.decoder(code), code, state)
