"""The recurrent network of Oh et al. 2015 (section 3.1, right): one frame per step into an LSTM."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...envs.checks import at_least, check
from ...envs.interface import Carry
from .encoder_decoder import Decoder, Encoder, Size, Transformation, architecture_for
from .feedforward import SMALL
from .frame_network import FrameNetwork, FrameOutput
from .frame_predictor import FramePredictorConfig

GRADIENT_CLIP = 0.1
"""Bound of the gradients with respect to the LSTM's hidden and cell state."""


@dataclass(frozen=True)
class RecurrentConfig(FramePredictorConfig):
    """The published network and schedule; the first phase uses teacher forcing."""

    size: Size = "published"
    """small is for 84 x 84 gray frames on a CPU, tiny for frames of a few pixels."""
    context: int = 11
    """Frames observed before the first prediction."""
    horizons: tuple[int, ...] = (10, 3, 5)
    """Steps predicted after the context; the first phase feeds true frames."""
    batch_sizes: tuple[int, ...] = (4, 4, 4)
    """Segments per update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "context")

    def build_network(
        self, obs_shape: tuple[int, int, int], num_actions: int, channels: int
    ) -> FrameNetwork:
        return RecurrentNetwork(self, obs_shape, num_actions, channels)


SMALL_RECURRENT = RecurrentConfig(size="small", **SMALL.training_settings(batch_sizes=(8, 8, 8)))
"""For 84 x 84 gray frames on a CPU, with the schedule of the small feed-forward network."""


class RecurrentNetwork(FrameNetwork):
    """Encode the newest frame, update the LSTM, transform its state by the action, decode."""

    teacher_forcing = True

    def __init__(
        self,
        config: RecurrentConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
    ) -> None:
        super().__init__()
        architecture = architecture_for(config.size, obs_shape)
        hidden = architecture.hidden
        self.channels, self.num_features, self.context = channels, hidden, config.context
        self.encoder = Encoder(architecture, (channels, obs_shape[1], obs_shape[2]))
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.transformation = Transformation(hidden, num_actions, hidden)
        self.decoder = Decoder(architecture, self.encoder.shapes, channels)

    def initial(self, n: int, device: torch.device) -> Carry:
        zeros = torch.zeros(n, self.num_features, device=device)
        return {"hidden": zeros, "cell": zeros}

    def observe(
        self, obs: Float[Tensor, "B K H W"], action: Float[Tensor, "B A"], carry: Carry
    ) -> Carry:
        # As published, the state encodes frames alone: an action transforms what is decoded.
        features = self.encoder(obs[:, -self.channels :])
        hidden, cell = self.lstm(features, (carry["hidden"], carry["cell"]))
        if hidden.requires_grad:
            for value in (hidden, cell):
                value.register_hook(lambda grad: grad.clamp(-GRADIENT_CLIP, GRADIENT_CLIP))
        return {"hidden": hidden, "cell": cell}

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        next_carry = self.observe(obs, action, carry)
        features = self.transformation(next_carry["hidden"], action)
        return FrameOutput(self.decoder(features), features, next_carry)
