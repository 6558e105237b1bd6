"""Agents of several seeds as one agent of all their envs, those of the first seed first."""

from typing import Generic, TypeVar

from ...envs.interface import Carry, Metrics, TimeStep, Transition
from ..interface import ActOutput, Agent
from .env_states import concat_states

A = TypeVar("A", bound=Agent)


class SeedAgent(Generic[A]):
    """Base of a policy of the envs of several seeds, which learns for each what it learns alone."""

    agents: list[A]
    """The agents of the seeds."""
    rows: A
    """An agent of all their envs, with the networks of all seeds: it acts and computes losses."""

    def initial(self, n: int) -> Carry:
        """Return the carry of the envs of all seeds, ``n`` in all."""
        carry: Carry = concat_states([x.initial(n // len(self.agents)) for x in self.agents])
        return carry

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Return an action in every env, by the network of its seed."""
        return self.rows.act(step, carry, explore=explore)

    def learn(self, t: Transition) -> list[Metrics]:
        """Learn from a transition of all envs; return the metrics of each seed."""
        raise NotImplementedError

    def share(self) -> None:
        """Store the present state in the seeds' own agents."""
        raise NotImplementedError
