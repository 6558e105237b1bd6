"""Reactive: no plan at all; logits of the action now are linear in the features.

With it, an agent that plans is the agent without a planner: the twin every planner is measured by.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from envs import dice
from envs.interface import Memory
from world_models.interface import PlannerConfig, Thought


@dataclass(frozen=True)
class ReactiveConfig(PlannerConfig):
    """A linear layer, near uniform play at first."""

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "Reactive":
        return Reactive(features, num_actions, seed=seed).to(device)


class Reactive(nn.Module):
    """Thinks of the action now alone, at no cost."""

    def __init__(self, features: int, num_actions: int, *, seed: int = 0) -> None:
        super().__init__()
        with dice.seeded(seed):
            self.logits = nn.Linear(features, num_actions)
            nn.init.orthogonal_(self.logits.weight, 0.01)
            nn.init.zeros_(self.logits.bias)

    def initial(self, n: int) -> Memory:
        return {}

    def advance(
        self,
        features: Float[Tensor, "B D"],
        memory: Memory,
        first: Bool[Tensor, " B"],
        choice: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Memory, Thought]:
        nothing = features.new_zeros(len(features))
        return self.logits(features), memory, Thought(nothing, nothing, nothing.long(), nothing)
