"""The protocols of a policy and of an agent, and the base of every agent's config."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from ..envs.interface import Carry, EnvSpec, Metrics, Stateful, TimeStep, Transition


@runtime_checkable
class Policy(Protocol):
    """A mapping from observations to actions, whose recurrent state is an explicit carry.

    Example::

        carry = policy.initial(envs.spec.num_envs)
        action, carry = policy.act(envs.reset(), carry)
    """

    def initial(self, n: int) -> Carry:
        """Return the carry of n environments before their first timestep."""

    def act(
        self, step: TimeStep, carry: Carry, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Carry]:
        """Return an action per environment and the next carry.

        Changes neither the given carry nor the state of the policy. ``explore=False`` selects
        the greedy action.
        """


@runtime_checkable
class Agent(Policy, Stateful, Protocol):
    """A policy that learns from transitions, on its own update schedule."""

    def learn(self, t: Transition) -> Metrics:
        """Store a transition, make the updates that are due and return their metrics."""


@dataclass(frozen=True)
class AgentConfig:
    """Base of every agent's config."""

    on_policy: ClassVar[bool] = False
    """Whether the agent can learn only from actions that it chose itself."""

    @property
    def no_bonus_reason(self) -> str:
        """Why the agent accepts no exploration bonus; empty if it accepts one."""
        return ""

    @property
    def rollout_length(self) -> int:
        """Timesteps between synchronizations of pipelined environments (see ``interact``).

        For an on-policy agent these are the timesteps of a rollout, so that no action of a rollout
        is chosen by an older policy.
        """
        return 128

    def check_env(self, env_name: str) -> None:
        """Raise UsageError if the pretrained parts of the agent belong to another environment."""

    def build(self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> Agent:
        """Return an untrained agent for environments of ``spec``."""
        raise NotImplementedError

    @property
    def initial_timesteps(self) -> int:
        """Agent steps spent on the pretrained parts of the agent; a run's counter starts there."""
        return 0
