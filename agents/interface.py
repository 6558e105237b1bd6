"""The protocols of a policy and of an agent, and the base of every agent's config."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Extras, Metrics, Stateful, TimeStep, Transition
from ..world_models.precision import FLOAT32, Precision


@dataclass(frozen=True, slots=True)
class ActOutput:
    """An action per environment, the next carry, and what else acting has computed."""

    action: Int64[Tensor, " N"]
    carry: Carry
    extras: Extras = field(default_factory=dict)
    """What ``learn`` and displays need beside the action: keys, log-probabilities, values. None of
    it is read when the policy acts again."""
    returns: tuple[Int64[Tensor, " M"], UInt8[Tensor, "M S"]] | None = None
    """Envs whose episode has ended, and the snapshots that their next ones start from, in envs that
    return to snapshots (``AgentConfig.return_after``); None elsewhere."""

    def with_action(self, action: Int64[Tensor, " N"]) -> "ActOutput":
        """Return the output with another action, also where the carry holds the one taken.

        That is as ``action`` or, newest last, as ``context_action``.
        """
        taken = {"action": action} if "action" in self.carry else {}
        if "context_action" in self.carry:
            taken["context_action"] = self.carry["context_action"].clone()
            taken["context_action"][:, -1:] = action[:, None]
        return replace(self, action=action, carry=self.carry | taken)


@runtime_checkable
class Policy(Protocol):
    """A mapping from observations to actions, whose recurrent state is an explicit carry.

    Example::

        from reverie.agents.policies import RandomPolicy
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        policy = RandomPolicy(envs.spec.num_actions)
        output = policy.act(envs.reset(), policy.initial(8))
        step = envs.step(output.action)
        output = policy.act(step, output.carry)
    """

    def initial(self, n: int) -> Carry:
        """Return the carry of n environments before their first timestep."""

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Return an action per environment, the next carry and extras.

        Changes neither the given carry nor the state of the policy. ``explore=False`` selects
        the greedy action; what a planner decides beside it (a new plan, its code, a number of
        repetitions) is drawn all the same.
        """


@runtime_checkable
class Agent(Policy, Stateful, Protocol):
    """A policy that learns from transitions, on its own update schedule."""

    def learn(self, t: Transition) -> Metrics:
        """Store a transition, make the updates that are due and return their metrics."""


@runtime_checkable
class Pretrainable(Protocol):
    """An agent with a part that can be pretrained; ``role`` is the name of its config's field."""

    def load_pretrained(self, role: str, state: dict[str, Any]) -> None:
        """Start from the state of a pretrained part."""


@dataclass(frozen=True)
class AgentConfig:
    """Base of every agent's config; raises UsageError for a setting out of its range."""

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

    def first_update(self, num_envs: int) -> int:
        """Return the agent steps of the first update; 0 if the settings do not fix them."""
        return 0

    def last_update(self, num_envs: int) -> float:
        """Return the agent steps after which no update changes anything; inf if there are none."""
        return math.inf

    @property
    def untrained_reason(self) -> str:
        """Why a part of the agent never learns unless it is pretrained; empty if all learn."""
        return ""

    @property
    def return_after(self) -> int:
        """Return the steps of an episode after which the agent returns to a snapshot of its choice.

        0 for an agent whose episodes are those of the env; see ``RestorableEnvs``.
        """
        return 0

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> Agent:
        """Return an untrained agent for environments of ``spec``."""
        raise NotImplementedError


@contextmanager
def settings_at(path: str) -> Iterator[None]:
    """Name the settings of an agent in a UsageError by its path: ``agent.gamma`` is path.gamma.

    The agent stands in another, at a path such as ``agent.inner``; messages of its config begin at
    ``agent``. Settings that the message names by that path stay as they are.
    """
    try:
        yield
    except UsageError as error:
        inner = re.escape(path.removeprefix("agent."))
        raise UsageError(re.sub(rf"\bagent\.(?!{inner}\b)", f"{path}.", str(error))) from error
