"""Which agents can learn with others of their kind, and how several become one."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...envs.errors import UsageError
from ..dqn import DQN
from ..ppo import PPO
from .dqn_seeds import DQNSeeds
from .interface import SeedAgent
from .ppo_seeds import PPOSeeds
from .seed_layers import check_network

TOGETHER: dict[type, type[SeedAgent[Any]]] = {DQN: DQNSeeds, PPO: PPOSeeds}
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


def together(agents: Sequence[Any]) -> SeedAgent[Any]:
    """Return an agent of the envs of all these agents, which differ in their seed alone.

    Raises UsageError if agents of this class, or with this network, cannot learn together.
    """
    check_together(agents[0])
    build: Any = TOGETHER[type(agents[0])]
    agent: SeedAgent[Any] = build(agents)
    return agent
