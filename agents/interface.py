"""Who acts and who learns: the two protocols of an agent, and the base of its config."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from envs.interface import EnvSpec, Memory, Metrics, Stateful, Step, Transition


@runtime_checkable
class Policy(Protocol):
    """Chooses actions; everything it remembers between ticks is in the memory it returns."""

    def initial(self, n: int) -> Memory:
        """The memory of n streams before their first step."""

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        """Actions of the streams and their next memory; the given memory is not changed.

        Nothing that ``act`` does changes what the policy knows.
        """


@runtime_checkable
class Agent(Policy, Stateful, Protocol):
    """A policy that learns from what it did, on a schedule of its own."""

    def learn(self, t: Transition) -> Metrics:
        """Store a tick, and learn when it is time."""


@dataclass(frozen=True)
class AgentConfig:
    """Base of every agent's config."""

    on_policy: ClassVar[bool] = False
    """Whether it can learn only from actions that it chose itself."""

    @property
    def refuses_bonus(self) -> str:
        """Why this agent takes no exploration bonus; empty where it takes one."""
        return ""

    @property
    def segment(self) -> int:
        """Ticks after which, every time, none may be under way: an on-policy agent's horizon."""
        return 128

    def check_world(self, title: str) -> None:
        """Raise UsageError where what the agent starts from was made in another world."""

    def build(self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> Agent:
        """An untrained agent for the streams of ``spec``."""
        raise NotImplementedError

    @property
    def steps_spent(self) -> int:
        """Agent steps that went into what the agent starts from; a run's count begins there."""
        return 0
