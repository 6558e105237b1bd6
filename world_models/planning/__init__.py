"""Planning: write, keep and revise a sequence of actions."""

from world_models.interface import PlannerConfig
from world_models.planning.action_repeat import ActionRepeatConfig
from world_models.planning.reactive import ReactiveConfig
from world_models.planning.straw import STRAWConfig, STRAWeConfig

PLANNERS: dict[str, type[PlannerConfig]] = {
    "reactive": ReactiveConfig,
    "action-repeat": ActionRepeatConfig,
    "straw": STRAWConfig,
    "strawe": STRAWeConfig,
}
"""Every planner by name: the command line, ``reverie list`` and the law tests read it."""
