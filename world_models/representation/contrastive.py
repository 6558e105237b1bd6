"""Contrastive representation by InfoNCE in time (van den Oord et al. 2018, equation 4).

A frame is to be told from those of other segments by a frame before it. The scores of the best
critic are f(o, o') = log p(o' | o) / p(o') + c(o): a classifier's log ratio of two distributions
again, of which samples are enough, as in a two-sample test (``log_bayes_factor``). The codes that
reach it hold what the two frames share, that is what lasts and what moves predictably.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...envs.checks import at_least, check
from ...envs.interface import Metrics, Segment
from .self_supervised import SelfSupervisedConfig, Task


@dataclass(frozen=True)
class ContrastiveConfig(SelfSupervisedConfig):
    """Codes that tell a later frame of the episode from other frames."""

    lag: int = 4
    """Timesteps between the two frames of a pair; fewer where the episode ends before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(1), "lag")

    def task(self, obs_shape: tuple[int, int, int]) -> "Contrastive":
        return Contrastive(self, obs_shape)


class Contrastive(Task):
    """Pairs of frames, scored by the bilinear form of their codes; a batch is its own negatives.

    At first the form is the scalar product. Scores are float32 under any precision.
    """

    def __init__(self, config: ContrastiveConfig, obs_shape: tuple[int, int, int]) -> None:
        super().__init__(obs_shape, config.dim)
        self.segment_length = config.lag
        self.critic = nn.Linear(config.dim, config.dim, bias=False)
        nn.init.eye_(self.critic.weight)

    def loss(self, segment: Segment) -> tuple[Float[Tensor, ""], Metrics]:
        lag = segment.valid[:, : self.segment_length].sum(1)  # or as far as the episode goes
        later = segment.obs[torch.arange(len(lag), device=lag.device), lag]
        codes, later_codes = self.encode(torch.cat([segment.obs[:, 0], later])).chunk(2)
        with torch.autocast(codes.device.type, enabled=False):  # scores are differences of logs
            scores = self.critic(codes.float()) @ later_codes.float().T
        own = torch.arange(len(scores), device=scores.device)
        accuracy = (scores.argmax(1) == own).float().mean()
        information = info_nce(scores).mean()
        return -information, {
            "mutual_information": information.detach(),
            "accuracy": accuracy,
        }


def info_nce(scores: Float[Tensor, "B B"]) -> Float[Tensor, " B"]:
    """Return each pair's term of InfoNCE in nats, whose mean bounds the mutual information.

        log B + log softmax_j(f(x_i, y_j)) at j = i

    Row i has the scores of x_i with every y; its own is that of the diagonal. The mean under the
    best scores is at most log B.
    """
    return math.log(len(scores)) + scores.log_softmax(1).diagonal()
