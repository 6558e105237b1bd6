"""The feed-forward net of Oh et al. 2015 ("Action-Conditional Video Prediction using Deep Networks
in Atari Games", section 3.1, left): the last four frames, an action, the next frame.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from envs.interface import Memory
from world_models.prediction.networks import (
    Decoder,
    Encoder,
    Size,
    Transformation,
    plan_for,
)
from world_models.prediction.predictor import CurriculumConfig, FramePredictor, Imagined, Net


@dataclass(frozen=True)
class FeedforwardConfig(CurriculumConfig):
    """The published network and schedule, for looks of four frames of 3 x 210 x 160."""

    size: Size = "published"
    """small is for 84 x 84 grey frames on a CPU, tiny for worlds of a few pixels."""
    sees_action: bool = True
    """Without it the net is the published baseline that does not know what was done."""

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> FramePredictor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = FeedforwardNet(self, obs_shape, num_actions, colours)
            return FramePredictor(
                self,
                net,
                obs_shape=obs_shape,
                num_actions=num_actions,
                colours=colours,
                device=device,
            )


SMALL = FeedforwardConfig(
    size="small",
    learning_rates=(5e-4, 2e-4, 1e-4),
    batches=(32, 16, 16),
    updates=(10_000, 5_000, 5_000),
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
