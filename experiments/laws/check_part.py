"""A check of a part of one's own against the laws of its role, as the tests check the others."""

from collections.abc import Callable
from typing import Any

from ...agents.bonuses.bonus import BonusConfig
from ...agents.interface import AgentConfig
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ...world_models.interface import (
    DensityConfig,
    PlannerConfig,
    PredictorConfig,
    RepresentationConfig,
)
from .agent_laws import agent_laws, bonus_laws, env_laws
from .interface import Laws
from .model_laws import density_laws, planner_laws, predictor_laws, representation_laws

LAWS: dict[type, Callable[[Any], Laws]] = {
    DensityConfig: density_laws,
    RepresentationConfig: representation_laws,
    PredictorConfig: predictor_laws,
    PlannerConfig: planner_laws,
    BonusConfig: bonus_laws,
    AgentConfig: agent_laws,
    EnvConfig: env_laws,
}
"""The laws of each role, by the base of its configs."""


def check_part(config: Any) -> None:
    """Check a part against the laws of its role, in small envs and on small frames.

    ``config`` is that of a density, representation, predictor, planner, bonus, agent or env. An
    exception of the part itself is passed on. Raises AssertionError, which lists the laws that the
    part breaks, and UsageError for a config of no role or a state that no checkpoint gives back.

    Example::

        from reverie import check_part
        from reverie.world_models.density.histogram import HistogramConfig

        check_part(HistogramConfig())
    """
    laws = next((laws for base, laws in LAWS.items() if isinstance(config, base)), None)
    if laws is None:
        raise UsageError(
            f"{config} is no config of a role; give an instance of a subclass of "
            f"{', '.join(base.__name__ for base in LAWS)}."
        )
    broken: dict[str, None] = {}  # each law once, in order
    try:
        for sentence, kept in laws(config):
            if not kept:
                broken[sentence] = None
    except Exception as error:
        if not broken:
            raise
        broken[f"It raises {error!r}."] = None  # as a consequence
    if broken:
        raise AssertionError("\n- ".join([f"{config} breaks laws of its role:", *broken]))
