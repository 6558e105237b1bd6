"""Shortest paths in a maze: the privileged reference of every planner.

The walls, the walker and the goal are those of the true state. A breadth-first search from the goal
returns the distance of every cell, and the next action leads to the nearest cell beside the walker.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ...envs.interface import Carry
from ...envs.maze import MOVES
from ...envs.privileged import true_state_columns
from ..interface import PlannerConfig, PlannerOutput
from .figar import MASKED_LOGIT

NAMES = ("walker_row", "walker_column", "goal_row", "goal_column", "wall_*")
"""The bytes that it reads: two cells, and the walls of a square of cells, row by row."""


@dataclass(frozen=True)
class ShortestPathConfig(PlannerConfig):
    """The next action of a shortest path to the goal of a maze."""

    needs_privileged = True

    def privileged_columns(self, offered: tuple[str, ...]) -> list[int]:
        return true_state_columns(
            offered, NAMES, part="agent.planner:shortest-path", envs="env:maze"
        )

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "ShortestPath":
        return ShortestPath(features, num_actions)


class ShortestPath(nn.Module):
    """A planner without parameters, plan or cost, whose policy is deterministic.

    Its features are the bytes of ``NAMES``. Of several shortest paths it takes the one whose next
    move comes first in ``MOVES``.
    """

    def __init__(self, features: int, num_actions: int) -> None:
        super().__init__()
        self.context_size, self.num_actions = 0, num_actions
        self.size = math.isqrt(features - 4)
        """Cells per side."""

    def initial(self, n: int) -> Carry:
        return {}

    def context(self, carry: Carry, first: Bool[Tensor, " B"]) -> Float[Tensor, "B C"]:
        return torch.zeros(len(first), 0, device=first.device)

    def advance(
        self,
        features: Float[Tensor, "B D"],
        carry: Carry,
        first: Bool[Tensor, " B"],
        decision: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Carry, PlannerOutput]:
        walker, goal = features[:, :4].long().view(-1, 2, 2).unbind(1)
        walls = features[:, 4:].view(-1, self.size, self.size) > 0
        action = next_move(walls, walker, goal)
        logits = MASKED_LOGIT * (1 - nn.functional.one_hot(action, self.num_actions).float())
        zeros = features.new_zeros(len(features))
        return logits, carry, PlannerOutput(zeros, zeros, zeros.long(), zeros)


def next_move(
    walls: Bool[Tensor, "B S S"], walker: Int64[Tensor, "B 2"], goal: Int64[Tensor, "B 2"]
) -> Int64[Tensor, " B"]:
    """Return the first of ``MOVES`` that leads to a free cell as near to the goal as any."""
    distance = nn.functional.pad(distances_to(goal, walls), (1, 1, 1, 1), value=torch.inf)
    beside = walker[:, None] + 1 + torch.tensor(MOVES, device=walker.device)  # [B, 4, 2]
    index = torch.arange(len(walker), device=walker.device)[:, None]
    return distance[index, beside[..., 0], beside[..., 1]].argmin(1)


def distances_to(
    goal: Int64[Tensor, "B 2"], walls: Bool[Tensor, "B S S"]
) -> Float[Tensor, "B S S"]:
    """Return the steps from every cell to the goal, breadth first; inf where there is no path."""
    distance = torch.full(walls.shape, torch.inf, device=walls.device)
    index = torch.arange(len(goal), device=goal.device)
    distance[index, goal[:, 0], goal[:, 1]] = 0.0
    steps, frontier = 0, distance == 0
    while frontier.any():
        steps += 1
        around = nn.functional.pad(frontier, (1, 1, 1, 1))
        beside = around[:, :-2, 1:-1] | around[:, 2:, 1:-1]
        beside |= around[:, 1:-1, :-2] | around[:, 1:-1, 2:]
        frontier = beside & ~walls & distance.isinf()
        distance = distance.where(~frontier, float(steps))
    return distance
