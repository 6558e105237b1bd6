"""Inverse dynamics as a representation: codes that tell which action was taken between two frames.

After Pathak et al. 2017, section 2.2; the keys of Never Give Up are such codes (Badia et al. 2020).
They need not hold what no action influences.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ...envs.interface import Metrics, Segment
from .self_supervised import SelfSupervisedConfig, Task

HIDDEN = 256


@dataclass(frozen=True)
class InverseDynamicsConfig(SelfSupervisedConfig):
    """Codes of two successive frames that tell the action between them."""

    num_actions: int = 18
    """Actions that are told apart, by default as many as Atari has; the env may have fewer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "representation", at_least(1), "num_actions")

    def task(self, obs_shape: tuple[int, int, int]) -> "InverseDynamics":
        return InverseDynamics(self, obs_shape)


class InverseDynamics(Task):
    """Classifier of actions by the codes of the frames before and after."""

    segment_length = 1

    def __init__(self, config: InverseDynamicsConfig, obs_shape: tuple[int, int, int]) -> None:
        super().__init__(obs_shape, config.dim)
        self.num_actions = config.num_actions
        self.classifier = nn.Sequential(
            nn.Linear(2 * config.dim, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, config.num_actions),
        )

    def loss(self, segment: Segment) -> tuple[Float[Tensor, ""], Metrics]:
        """Return the cross-entropy of the actions within episodes, in nats.

        Raises UsageError for an action that the classifier has not.
        """
        valid = segment.valid
        action = segment.action[valid].to(self.encoder.mean.device)
        if int(action.max()) >= self.num_actions:
            raise UsageError(
                f"The env has an action {int(action.max())}, and representation.num_actions is "
                f"{self.num_actions}; set it to the env's number of actions."
            )
        frames = torch.cat([segment.obs[:, :-1][valid], segment.obs[:, 1:][valid]])
        logits = self.classifier(torch.cat(self.encode(frames).chunk(2), 1))
        loss = cross_entropy(logits, action)
        accuracy = (logits.argmax(1) == action).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": accuracy}
