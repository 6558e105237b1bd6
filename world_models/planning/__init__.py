"""Planning: write, keep and revise a sequence of actions."""

from world_models.interface import PlannerConfig
from world_models.planning.reactive import ReactiveConfig

PLANNERS: dict[str, type[PlannerConfig]] = {"reactive": ReactiveConfig}
"""Every planner by name: the command line, ``reverie list`` and the law tests read it."""
