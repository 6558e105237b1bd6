"""Plans of a policy's planner: their lengths as metrics, and the plans of one env.

The present of a plan is its position 0. A planner that commits itself hands over ``replanned``
beside every action; STRAW also the ``window`` that it attends to, and keeps ``plan`` and
``replan_prob`` in its carry.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ...envs.interface import Carry, Extras, Metrics, Transition
from ...world_models.planning.straw import shift
from ...world_models.state import HasState

MAX_LENGTH = 1000
"""Plans of this length and longer are counted together."""


class PlanLengths(HasState):
    """A histogram of the number of timesteps between replannings.

    The last plan of an episode is cut short and not counted.
    """

    STATE = ("length", "counts")
    PER_ENV = ("length",)

    def __init__(self, num_envs: int, device: torch.device | str = "cpu") -> None:
        self.length = torch.zeros(num_envs, dtype=torch.int64, device=device)
        """Timesteps for which each env's present plan has been followed."""
        self.counts = torch.zeros(MAX_LENGTH + 1, device=device)

    def update(self, t: Transition, counted: Bool[Tensor, " N"] | bool = True) -> None:
        """Count the plans of the ``counted`` envs that end at a transition."""
        if "replanned" not in t.extras:
            return
        replanned = t.extras["replanned"]
        ended = replanned & t.valid & ~t.step.first & counted
        self.counts.index_add_(0, self.length.clamp(max=MAX_LENGTH), ended.to(self.counts.dtype))
        self.length = torch.where(replanned, 1, self.length + 1)

    def pop(self) -> NDArray[np.float64]:
        """Return the number of plans of each length since the last call; empty without plans."""
        counts = np.trim_zeros(self.counts.double().cpu().numpy(), "b")
        self.counts = torch.zeros_like(self.counts)
        return counts

    def metrics(self) -> Metrics:
        """Return what ``pop`` does, the mean length in timesteps, and the share of length 1."""
        counts = self.pop()
        if not len(counts):
            return {}
        return {
            "plan/length": torch.from_numpy(counts),
            "plan/mean_length": float(counts @ np.arange(len(counts)) / counts.sum()),
            "plan/share_of_length_1": float(counts[1] / counts.sum()),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of env 0 after a timestep; T is 0 for a planner that writes none."""

    age: int
    """Timesteps since the last replanning."""
    probs: Float[Tensor, "A T"]
    window: Float[Tensor, " T"]
    """Positions attended to at the last replanning."""
    replan_prob: Float[Tensor, " T"]

    @property
    def written(self) -> bool:
        return len(self.window) > 0


def follow_plan(plan: Plan | None, carry: Carry, extras: Extras) -> Plan | None:
    """Return env 0's plan after a timestep, from the plan before it.

    ``carry`` is the policy's after the timestep. Returns None for a planner that never commits
    itself.
    """
    if "replanned" not in extras:
        return None
    kept = plan if plan and not bool(extras["replanned"][0]) else None
    age = kept.age + 1 if kept else 0
    if "plan" not in carry:
        return Plan(age, torch.zeros(1, 0), torch.zeros(0), torch.zeros(0))
    window = shift(kept.window, 0.0) if kept else extras["window"][0].cpu()
    return Plan(age, carry["plan"][0].softmax(0).cpu(), window, carry["replan_prob"][0].cpu())


class PlanTrace:
    """The plans of env 0 in its first whole episode."""

    def __init__(self, max_timesteps: int = 150) -> None:
        self.max_timesteps = max_timesteps
        self.plan: Plan | None = None
        """At the last transition of the episode so far."""
        self.timesteps: list[tuple[int, Plan]] = []
        """The action and the written plan of each of the first timesteps."""
        self.done = False

    def update(self, t: Transition) -> None:
        """Follow the plan through a transition."""
        if self.done or not (self.plan or bool(t.step.first[0])):
            return
        self.plan = follow_plan(self.plan, t.next_carry, t.extras)
        if self.plan and self.plan.written and len(self.timesteps) < self.max_timesteps:
            self.timesteps.append((int(t.action[0]), self.plan))
        self.done = bool(t.next_step.last[0])
