"""Action repetition: choose an action, and for how many ticks (FiGAR, Sharma et al. 2017).

The simplest macro-action, and the baseline of every planner: no plan, only commitment.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from envs import dice
from envs.checks import at_least, check
from envs.interface import Memory
from world_models.interface import PlannerConfig, Thought

LENGTH = 10
"""Lane of the dice that draws how long."""

NEVER = -1e4
"""A logit that is probability 0 in any softmax, and still a number."""


@dataclass(frozen=True)
class ActionRepeatConfig(PlannerConfig):
    """A softmax over actions and one over 1..longest ticks, both linear in the features."""

    longest: int = 30
    """W: the most ticks for which one action is done (section 4: 30)."""

    def __post_init__(self) -> None:
        check(self, "planner", at_least(1), "longest")

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "ActionRepeat":
        return ActionRepeat(features, num_actions, self.longest, seed=seed).to(device)


class ActionRepeat(nn.Module):
    """Decides when the last decision has run out; in between, does again what was done."""

    def __init__(self, features: int, num_actions: int, longest: int, *, seed: int = 0) -> None:
        super().__init__()
        self.num_actions = num_actions
        with dice.seeded(seed):
            self.logits, self.length = (
                nn.Linear(features, num_actions),
                nn.Linear(features, longest),
            )
            for head in (self.logits, self.length):
                nn.init.orthogonal_(head.weight, 0.01)
                nn.init.zeros_(head.bias)

    def initial(self, n: int) -> Memory:
        where, counters = self.logits.bias.device, ("left", "age", "action")
        return {name: torch.zeros(n, dtype=torch.int64, device=where) for name in counters}

    def advance(
        self,
        features: Float[Tensor, "B D"],
        memory: Memory,
        first: Bool[Tensor, " B"],
        choice: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Memory, Thought]:
        """The choice is how often an action is repeated; its nats are against a uniform one."""
        due = first | (memory["left"] == 0)
        log_q = self.length(features).log_softmax(1)
        if choice is None:
            choice = dice.categorical(log_q, memory["dice"], LENGTH)
        left = torch.where(due, choice, memory["left"] - 1)

        again = nn.functional.one_hot(memory["action"], self.num_actions)
        logits = torch.where(due[:, None], self.logits(features), NEVER * (1 - again))
        nats = (log_q.exp() * (log_q + math.log(log_q.shape[1]))).sum(1)
        cost = Thought(
            nats=torch.where(due, nats, 0.0),
            commitment=torch.where(due, log_q[:, 0].exp(), (left == 0).to(nats.dtype)),
            choice=choice,
            log_prob=torch.where(due, log_q.gather(1, choice[:, None])[:, 0], 0.0),
        )
        age = torch.where(due, 0, memory["age"] + 1)
        return logits, memory | {"left": left, "age": age}, cost
