"""Agents of several seeds as one agent of all their envs, those of the first seed first."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn

from ...envs.errors import UsageError
from ...envs.interface import Metrics, Transition
from ..dqn import DQN
from ..interface import Policy
from ..ppo import PPO
from .dqn_seeds import DQNSeeds
from .ppo_seeds import PPOSeeds
from .seed_layers import check_network


class SeedAgent(Policy, Protocol):
    """A policy of the envs of several seeds, which learns for each seed what it learns alone."""

    def learn(self, t: Transition) -> list[Metrics]:
        """Learn from a transition of all envs; return the metrics of each seed."""

    def share(self) -> None:
        """Store the present state in the seeds' own agents."""


TOGETHER: dict[type, type[SeedAgent]] = {DQN: DQNSeeds, PPO: PPOSeeds}
"""The class of several seeds of each agent that can learn together."""


def check_together(agent: Any) -> None:
    """Raise UsageError if agents of this class, or with this network, cannot learn together."""
    if type(agent) not in TOGETHER:
        names = " and ".join(known.__name__ for known in TOGETHER)
        raise UsageError(
            f"Several seeds of {type(agent).__name__} cannot learn together, as those of {names} "
            "can; leave out --seeds-together, and train one --seed at a time."
        )
    for part in vars(agent).values():
        if isinstance(part, nn.Module):
            check_network(part)


def together(agents: Sequence[Any]) -> SeedAgent:
    """Return an agent of the envs of all these agents, which differ in their seed alone.

    Raises UsageError if agents of this class, or with this network, cannot learn together.
    """
    check_together(agents[0])
    build: Any = TOGETHER[type(agents[0])]
    agent: SeedAgent = build(agents)
    return agent
