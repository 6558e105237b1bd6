"""One-shot generalization: DRAW that is given an example of what it is to draw.

After Rezende et al. 2016, "One-Shot Generalization in Deep Generative Models": a model p(x | x'),
where x' shows the same character, room or maze as x, so that new frames of it follow from a single
one. At each glimpse the decoder is also given an encoding of the example:

    d_t = LSTM(d_t-1, [z_t, encode(x')])

The encoder of x knows of the example by the decoder's output. The example of a frame is another one
of its episode, at most ``horizon`` timesteps later.

Not from the paper: the example is encoded once, by two layers, in place of attention to it at each
glimpse; and a share of the frames is without an example in training, so that the model is also one
of p(x), which keys and densities are of.
"""

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...envs.checks import at_least, check
from ...envs.interface import Segment
from ..likelihoods import Likelihood
from .draw import DRAW, DRAWConfig

SHARE_WITHOUT = 0.1
"""Of the frames of an update, which have no example."""


@dataclass(frozen=True)
class OneShotDRAWConfig(DRAWConfig):
    """DRAW whose decoder is given an example of each frame, from the same episode."""

    horizon: int = 10
    """Timesteps after a frame within which its example is drawn, if its episode is as long."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "horizon")

    @property
    def model_class(self) -> type[DRAW]:
        return OneShotDRAW


class OneShotDRAW(DRAW):
    """DRAW of p(x | x'), or of p(x) if it is given no example.

    ``given`` returns the former. Both have the same weights.
    """

    known: Float[Tensor, "B hidden+1"] | None = None
    """The encoding of each example and 1; zeros for a frame without an example."""

    def __init__(self, config: OneShotDRAWConfig, pixels: Likelihood) -> None:
        super().__init__(config, pixels, given=config.hidden + 1)
        self.segment_length = config.horizon
        self.example_encoder = nn.Sequential(
            nn.Linear(math.prod(pixels.shape), config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
        )

    def given(self, example: Tensor, has_example: Bool[Tensor, " B"] | None = None) -> DRAW:
        """Return p(x | x') for each of B examples, as ``prepare`` returns their pixels.

        Its samples and codes are of one example, or of B of them in order. Without
        ``has_example``, all are given.
        """
        centered = (self.pixels.inputs(example) - self.mean) / self.std
        encoded = self.example_encoder(centered.flatten(1)).float()
        known = torch.cat([encoded, torch.ones_like(encoded[:, :1])], 1)
        model = copy.copy(self)  # with the same parameters
        model.known = known if has_example is None else known * has_example[:, None]
        return model

    def given_segment(self, segment: Segment) -> DRAW:
        """Return p(x | x') with a random example for most first observations of segments."""
        example, has_example = self.examples(segment)
        device = self.background.device
        return self.given(self.prepare(example.to(device)), has_example.to(device))

    def examples(self, segment: Segment) -> tuple[Tensor, Bool[Tensor, " B"]]:
        """Return a later observation of each segment's episode, and whether there is one to give.

        It is drawn by torch's generator.
        """
        left = segment.valid[:, : self.segment_length].long().cumprod(1).sum(1).cpu()
        chance, place = torch.rand(2, len(left), device=self.background.device).cpu()
        has_example = (left > 0) & (chance >= SHARE_WITHOUT)
        ahead = 1 + (place * left).long()
        rows = torch.arange(len(left))
        return segment.obs[rows, torch.where(has_example, ahead, 0)], has_example

    def _given(self, count: int) -> Float[Tensor, "R given"]:
        if self.known is None:
            return super()._given(count)
        return self.known.repeat(count // len(self.known), 1)
