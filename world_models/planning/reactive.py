"""The reactive planner: no plan; logits of the present action are linear in the features.

With it a planning agent is plain PPO, the baseline of every planner.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ...envs import prng
from ...envs.interface import Carry
from ..interface import PlannerConfig, PlannerOutput


@dataclass(frozen=True)
class ReactiveConfig(PlannerConfig):
    """A linear layer, initialized to nearly uniform action probabilities."""

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "Reactive":
        return Reactive(features, num_actions, seed=seed).to(device)


class Reactive(nn.Module):
    """A planner without plan, carry or cost."""

    def __init__(self, features: int, num_actions: int, *, seed: int = 0) -> None:
        super().__init__()
        self.context_size = 0
        with prng.seeded(seed):
            self.action_head = nn.Linear(features, num_actions)
            nn.init.orthogonal_(self.action_head.weight, 0.01)
            nn.init.zeros_(self.action_head.bias)

    def initial(self, n: int) -> Carry:
        return {}

    def context(self, carry: Carry, first: Bool[Tensor, " B"]) -> Float[Tensor, "B C"]:
        return self.action_head.bias.new_zeros(len(first), 0)

    def advance(
        self,
        features: Float[Tensor, "B D"],
        carry: Carry,
        first: Bool[Tensor, " B"],
        decision: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Carry, PlannerOutput]:
        zeros = features.new_zeros(len(features))
        output = PlannerOutput(zeros, zeros, zeros.long(), zeros)
        return self.action_head(features), carry, output
