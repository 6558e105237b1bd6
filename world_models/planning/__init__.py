"""Planners: models that write, keep and revise a sequence of actions."""

from ..interface import PlannerConfig
from .figar import FiGARConfig
from .reactive import ReactiveConfig
from .shortest_path import ShortestPathConfig
from .straw import STRAWConfig, STRAWeConfig

PLANNERS: dict[str, type[PlannerConfig]] = {
    "reactive": ReactiveConfig,
    "figar": FiGARConfig,
    "straw": STRAWConfig,
    "strawe": STRAWeConfig,
    "shortest-path": ShortestPathConfig,
}
"""Every planner by name, as on the command line."""
