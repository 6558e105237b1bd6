"""Agents of several seeds as one agent of all their envs, those of the first seed first."""

from collections.abc import Sequence
from typing import Any, Protocol

from ...envs.errors import UsageError
from ...envs.interface import Metrics, Transition
from ..dqn import DQN
from ..interface import Policy
from ..ppo import PPO
from .dqn_seeds import DQNSeeds
from .ppo_seeds import PPOSeeds


class SeedAgent(Policy, Protocol):
    """A policy of the envs of several seeds, which learns for each seed what it learns alone."""

    def learn(self, t: Transition) -> list[Metrics]:
        """Learn from a transition of all envs; return the metrics of each seed."""

    def share(self) -> None:
        """Bring the state of the seeds' own agents up to date."""


TOGETHER: dict[type, type[SeedAgent]] = {DQN: DQNSeeds, PPO: PPOSeeds}
"""The class of several seeds of each agent that can learn together."""


def together(agents: Sequence[Any]) -> SeedAgent:
    """Return an agent of the envs of all these agents, which differ in their seed alone.

    Raises UsageError if agents of this class, or with this network, cannot learn together.
    """
    kind = type(agents[0])
    if kind not in TOGETHER:
        names = " and ".join(known.__name__ for known in TOGETHER)
        raise UsageError(
            f"Several seeds of {kind.__name__} cannot learn together, as those of {names} can; "
            "leave out --seeds-together, and train one --seed at a time."
        )
    build: Any = TOGETHER[kind]
    agent: SeedAgent = build(agents)
    return agent
