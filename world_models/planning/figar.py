"""FiGAR (Sharma et al. 2017): choose an action, and for how many timesteps to repeat it.

The simplest macro-action, and the baseline of planners that write a plan.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ...envs import prng
from ...envs.checks import at_least, check
from ...envs.interface import Carry
from ..interface import PlannerConfig, PlannerOutput

MASKED_LOGIT = -1e4
"""Logit of an excluded action: probability 0 in any softmax, but finite."""


@dataclass(frozen=True)
class FiGARConfig(PlannerConfig):
    """A softmax over actions and one over 1..max_repetitions, both linear in the features."""

    max_repetitions: int = 30
    """W: the most timesteps for which one action is repeated (the paper: 30)."""

    def __post_init__(self) -> None:
        check(self, "planner", at_least(1), "max_repetitions")

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "FiGAR":
        return FiGAR(features, num_actions, self.max_repetitions, seed=seed).to(device)


class FiGAR(nn.Module):
    """A planner that chooses an action and its repetitions, then repeats it until they are over.

        a ~ softmax(W_a x),  n ~ q = softmax(W_n x),  KL = sum_n q(n) log(W q(n))

    Both are drawn at replanning, from the features x of that timestep. The divergence is that of
    the number of repetitions n in 1..W from a uniform distribution.
    """

    def __init__(
        self, features: int, num_actions: int, max_repetitions: int, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.num_actions, self.max_repetitions = num_actions, max_repetitions
        self.context_size = num_actions + 1
        with prng.seeded(seed):
            self.action_head = nn.Linear(features, num_actions)
            self.repetition_head = nn.Linear(features, max_repetitions)
            for head in (self.action_head, self.repetition_head):
                nn.init.orthogonal_(head.weight, 0.01)
                nn.init.zeros_(head.bias)

    def initial(self, n: int) -> Carry:
        device, counters = self.action_head.bias.device, ("remaining", "action")
        return {name: torch.zeros(n, dtype=torch.int64, device=device) for name in counters}

    def context(self, carry: Carry, first: Bool[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the committed action as one-hot, and the fraction of its repetitions left."""
        remaining = torch.where(first, 0, carry["remaining"])
        action = nn.functional.one_hot(carry["action"], self.num_actions)
        action = torch.where(remaining[:, None] > 0, action, 0)
        return torch.cat([action, remaining[:, None] / self.max_repetitions], 1)

    def advance(
        self,
        features: Float[Tensor, "B D"],
        carry: Carry,
        first: Bool[Tensor, " B"],
        decision: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Carry, PlannerOutput]:
        """Replan where the repetitions are over; the decision is how many follow the first.

        The KL divergence is that of the number of repetitions from a uniform distribution.
        """
        replans = first | (carry["remaining"] == 0)
        log_q = self.repetition_head(features).log_softmax(1)
        if decision is None:
            decision = prng.categorical(log_q, carry["rng"], prng.Purpose.PLAN)
        remaining = torch.where(replans, decision, carry["remaining"] - 1)

        repeated = nn.functional.one_hot(carry["action"], self.num_actions)
        logits = torch.where(
            replans[:, None], self.action_head(features), MASKED_LOGIT * (1 - repeated)
        )
        kl = (log_q.exp() * (log_q + math.log(log_q.shape[1]))).sum(1)
        output = PlannerOutput(
            kl=torch.where(replans, kl, 0.0),
            replan_prob=torch.where(replans, log_q[:, 0].exp(), (remaining == 0).to(kl.dtype)),
            decision=decision,
            log_prob=torch.where(replans, log_q.gather(1, decision[:, None])[:, 0], 0.0),
            replanned=replans,
            decides=replans,
        )
        return logits, carry | {"remaining": remaining}, output
