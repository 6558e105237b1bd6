"""The feed-forward network of Oh et al. 2015, from four frames and an action to the next frame.

"Action-Conditional Video Prediction using Deep Networks in Atari Games", section 3.1, left. The
small size applies the transformation at each position of a grid of convolutional features instead
of to one vector. Motion is learned once for all positions, so training takes minutes on a CPU where
the published network takes days; its receptive field reaches about 20 pixels.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ...envs.checks import at_least, check
from ...envs.interface import Carry
from .encoder_decoder import Decoder, Encoder, Size, Transformation, architecture_for
from .frame_network import FrameNetwork, FrameOutput
from .frame_predictor import FramePredictorConfig
from .subpixel import convolution, deconvolution


@dataclass(frozen=True)
class FeedforwardConfig(FramePredictorConfig):
    """The published network and schedule, for observations of four frames of 3 x 210 x 160."""

    size: Size = "published"
    """small is for 84 x 84 gray frames on a CPU, tiny for frames of a few pixels."""
    hidden_channels: int = 32
    """Channels of the grid of the small size."""
    action_conditional: bool = True
    """False is the published baseline that ignores the action."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "hidden_channels")

    def build_network(
        self, obs_shape: tuple[int, int, int], num_actions: int, channels: int
    ) -> FrameNetwork:
        kind = GridNetwork if self.size == "small" else FeedforwardNetwork
        return kind(self, obs_shape, num_actions, channels)


SMALL = FeedforwardConfig(
    size="small",
    reward_head="two-hot",
    head_hidden=128,
    learning_rates=(1e-3, 3e-4, 1e-4),
    batch_sizes=(32, 16, 16),
    updates=(6_000, 2_000, 2_000),
)
"""For 84 x 84 gray frames, with a schedule of minutes on a CPU."""

TINY = FeedforwardConfig(
    size="tiny",
    reward_head="two-hot",
    head_hidden=128,
    learning_rates=(1e-3, 1e-3, 3e-4),
    batch_sizes=(32, 16, 16),
    updates=(1_000, 1_000, 1_000),
)
"""For the frames of Catch, DeepSea and MinAtar, with a schedule of seconds on a CPU."""


class FeedforwardNetwork(FrameNetwork):
    """Encode the observation, transform its features by the action, decode a frame."""

    def __init__(
        self,
        config: FeedforwardConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
    ) -> None:
        super().__init__()
        architecture = architecture_for(config.size, obs_shape)
        self.action_conditional = config.action_conditional
        self.num_features = architecture.hidden
        self.encoder = Encoder(architecture, obs_shape)
        self.transformation = Transformation(self.num_features, num_actions, self.num_features)
        self.decoder = Decoder(architecture, self.encoder.shapes, channels)

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        features = self.transformation(self.encoder(obs), action * self.action_conditional)
        return FrameOutput(self.decoder(features), features, carry)


class GridNetwork(FrameNetwork):
    """Convolve the observation to a grid, transform each position by the action, convolve back."""

    def __init__(
        self,
        config: FeedforwardConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
    ) -> None:
        super().__init__()
        architecture_for("small", obs_shape)  # raises UsageError for frames that are too small
        in_channels, rows, columns = obs_shape
        hidden, self.action_conditional = config.hidden_channels, config.action_conditional
        grid = [(x - 4) // 4 + 1 for x in (rows, columns)]
        self.num_features = hidden * grid[0] * grid[1]
        self.encoder = nn.Sequential(
            convolution(in_channels, hidden, 8, 4, (2, 2)),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
        )
        self.encode = nn.Conv2d(hidden, hidden, 1)
        self.act = nn.Linear(num_actions, hidden)
        self.decode = nn.Conv2d(hidden, hidden, 1)
        output_padding = rows - 4 * grid[0], columns - 4 * grid[1]
        self.decoder = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            deconvolution(hidden, channels, 8, 4, (2, 2), output_padding),
        )

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        # 1 + W_act a, so that the initial factors are near 1 and gradients reach the encoder.
        factors = 1 + self.act(action * self.action_conditional)[:, :, None, None]
        features = self.decode(self.encode(self.encoder(obs)) * factors)
        return FrameOutput(self.decoder(features), features.flatten(1), carry)
