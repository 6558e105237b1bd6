"""The feed-forward net of Oh et al. 2015 ("Action-Conditional Video Prediction using Deep Networks
in Atari Games", section 3.1, left): the last four frames, an action, the next frame.

The small size keeps the code on a grid instead of in one vector: the same transformation at each
place, between convolutions. What moves is learned once for all places, so a CPU needs minutes
where the published net needs days; what lies further than about 20 pixels away is not seen.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from envs.checks import at_least, check
from envs.interface import Memory
from world_models.prediction.net import Imagined, Net
from world_models.prediction.networks import (
    Decoder,
    Encoder,
    Size,
    Transformation,
    plan_for,
)
from world_models.prediction.predictor import CurriculumConfig
from world_models.prediction.subpixel import convolution, deconvolution


@dataclass(frozen=True)
class FeedforwardConfig(CurriculumConfig):
    """The published network and schedule, for looks of four frames of 3 x 210 x 160."""

    size: Size = "published"
    """small is for 84 x 84 grey frames on a CPU, tiny for worlds of a few pixels."""
    channels: int = 32
    """Of the grid of the small size."""
    sees_action: bool = True
    """Without it the net is the published baseline that does not know what was done."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "channels")

    def net(self, obs_shape: tuple[int, int, int], num_actions: int, colours: int) -> Net:
        kind = GridNet if self.size == "small" else FeedforwardNet
        return kind(self, obs_shape, num_actions, colours)


SMALL = FeedforwardConfig(
    size="small",
    learning_rates=(1e-3, 3e-4, 1e-4),
    batches=(32, 16, 16),
    updates=(6_000, 2_000, 2_000),
)
"""For 84 x 84 grey frames on a CPU, and a schedule of minutes."""


class FeedforwardNet(Net):
    """Encode the look, multiply with the action, decode a frame."""

    def __init__(
        self,
        config: FeedforwardConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int,
    ) -> None:
        super().__init__()
        plan = plan_for(config.size, obs_shape)
        self.sees_action, self.width = config.sees_action, plan.hidden
        self.encoder = Encoder(plan, obs_shape)
        self.transformation = Transformation(plan.hidden, num_actions, plan.hidden)
        self.decoder = Decoder(plan, self.encoder.shapes, colours)

    def imagine(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        state: Memory,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> Imagined:
        code = self.transformation(self.encoder(look), action * self.sees_action)
        return Imagined(self.decoder(code), code, state)


class GridNet(Net):
    """Convolve the look to a grid, multiply with the action at each place, convolve back."""

    def __init__(
        self,
        config: FeedforwardConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int,
    ) -> None:
        super().__init__()
        plan_for("small", obs_shape)
        before, rows, columns = obs_shape
        maps, self.sees_action = config.channels, config.sees_action
        grid = [(x - 4) // 4 + 1 for x in (rows, columns)]
        self.width = maps * grid[0] * grid[1]
        self.encoder = nn.Sequential(
            convolution(before, maps, 8, 4, (2, 2)),
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, padding=1),
            nn.ReLU(),
        )
        self.encode = nn.Conv2d(maps, maps, 1)
        self.act = nn.Linear(num_actions, maps)
        self.decode = nn.Conv2d(maps, maps, 1)
        self.decoder = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, padding=1),
            nn.ReLU(),
            deconvolution(maps, colours, 8, 4, (2, 2), (rows - 4 * grid[0], columns - 4 * grid[1])),
        )

    def imagine(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        state: Memory,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> Imagined:
        # One plus the action's share, so that no place is silent before an action is known.
        factors = 1 + self.act(action * self.sees_action)[:, :, None, None]
        code = self.decode(self.encode(self.encoder(look)) * factors)
        return Imagined(self.decoder(code), code.flatten(1), state)
