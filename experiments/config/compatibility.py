"""Which parts fit together: every two parts of different roles, in one experiment or refused."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

from ...agents.dqn import DQNConfig
from ...envs.errors import UsageError
from ...envs.maze import MazeConfig
from .experiment import Experiment
from .registry import AGENTS
from .roles import choose_all, roles

ROLES = (
    "agent", "bonus", "agent.planner", "agent.representation", "agent.predictor", "agent.inner"
)  # fmt: skip
"""The roles of an experiment of which parts are combined."""
BASE = Experiment(
    DQNConfig(), MazeConfig(rooms=3, view=9, max_episode_steps=10), total_timesteps=240, num_envs=4
)
"""A maze, whose true state every privileged reference can read."""


@dataclass(frozen=True)
class Combination:
    """Two parts as ``role:name``, and the experiment with both or why it is refused."""

    parts: tuple[str, str]
    experiment: Experiment | None
    refusal: str = ""


def compatibility() -> Iterator[Combination]:
    """Yield every two parts of roles that an agent has both of.

    The experiment is that of the first agent in the table that accepts the two.
    """
    tables = {name: dict(roles(replace(BASE, agent=kind()))) for name, kind in AGENTS.items()}
    for first, second in combinations(ROLES, 2):
        agents = [name for name, table in tables.items() if {first, second} <= table.keys()]
        if not agents:
            continue
        for a, b in product(tables[agents[0]][first], tables[agents[0]][second]):
            parts = (f"{first}:{a}", f"{second}:{b}")
            tried = [_combine(parts, x) for x in agents if first != "agent" or x == a]
            yield from [x for x in tried if x.experiment][:1] or tried[:1]


def _combine(parts: tuple[str, str], agent: str) -> Combination:
    try:
        return Combination(parts, choose_all(BASE, [*dict.fromkeys((f"agent:{agent}", *parts))]))
    except UsageError as error:
        return Combination(parts, None, str(error))
