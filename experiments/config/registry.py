"""The registry of roles: which parts can fill each, by name.

A role is the type of a config's field, and the role's table lists its parts. A part of another
package needs a config that subclasses the role's config base, and ``register``. Only registered
classes are stored and loaded.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, get_type_hints

from ...agents.bonuses.bonus import BonusConfig, NoBonusConfig
from ...agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from ...agents.bonuses.episodic_novelty import EpisodicNoveltyConfig
from ...agents.bonuses.exemplar import ExemplarConfig
from ...agents.bonuses.rnd import RNDConfig
from ...agents.bonuses.simhash import SimHashConfig
from ...agents.bonuses.true_counts import TrueCountsConfig
from ...agents.dqn import DQNConfig
from ...agents.dyna import DynaConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.episodic.nait import NAITConfig
from ...agents.episodic.nec import NECConfig
from ...agents.go_explore import GoExploreConfig
from ...agents.informed import InformedConfig
from ...agents.interface import AgentConfig
from ...agents.mpc import MPCConfig
from ...agents.networks import NETWORKS, NetworkConfig
from ...agents.ppo import PPOConfig
from ...agents.pqn import PQNConfig
from ...agents.thompson import ThompsonConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS, AtariProtocol
from ...envs.catch import CatchConfig
from ...envs.deep_sea import DeepSeaConfig
from ...envs.errors import UsageError
from ...envs.gym import GymConfig
from ...envs.interface import EnvConfig
from ...envs.maze import MazeConfig
from ...envs.minatar import MinAtarConfig
from ...envs.recorded import RecordedConfig
from ...world_models.density import DENSITIES
from ...world_models.interface import (
    DensityConfig,
    PlannerConfig,
    PredictorConfig,
    RepresentationConfig,
)
from ...world_models.latents import LATENTS
from ...world_models.latents.interface import LatentConfig
from ...world_models.planning import PLANNERS
from ...world_models.prediction import PREDICTORS
from ...world_models.representation import REPRESENTATIONS
from .experiment import Experiment, Job

C = TypeVar("C")


AGENTS: dict[str, type[AgentConfig]] = {
    "mfec": MFECConfig,
    "nec": NECConfig,
    "nait": NAITConfig,
    "dqn": DQNConfig,
    "thompson": ThompsonConfig,
    "ppo": PPOConfig,
    "pqn": PQNConfig,
    "dyna": DynaConfig,
    "mpc": MPCConfig,
    "informed": InformedConfig,
    "go-explore": GoExploreConfig,
}

BONUSES: dict[str, type[BonusConfig]] = {
    "none": NoBonusConfig,
    "episodic": EpisodicNoveltyConfig,
    "exemplar": ExemplarConfig,
    "pseudo-count": PseudoCountConfig,
    "rnd": RNDConfig,
    "simhash": SimHashConfig,
    "surprise": SurpriseConfig,
    "true-counts": TrueCountsConfig,
}

ENVS: dict[str, type[EnvConfig]] = {
    "atari": AtariConfig,
    "catch": CatchConfig,
    "deep-sea": DeepSeaConfig,
    "gym": GymConfig,
    "maze": MazeConfig,
    "minatar": MinAtarConfig,
}

TRAINING = "reverie.experiments.training"
PRETRAININGS: dict[str, Any] = {
    "density": f"{TRAINING}.densities:DensityPretraining",
    "predictor": f"{TRAINING}.predictors:PredictorPretraining",
    "representation": f"{TRAINING}.representations:RepresentationPretraining",
}
"""What `reverie pretrain ROLE:NAME` can pretrain, by role."""

TABLES: dict[type, dict[str, Any]] = {
    AgentConfig: AGENTS,
    BonusConfig: BONUSES,
    DensityConfig: DENSITIES,
    LatentConfig: LATENTS,
    EnvConfig: ENVS
    | {
        "imagination": f"{TRAINING}.imagined_env:ImaginationConfig",
        "recorded": RecordedConfig,
    },
    AtariProtocol: PROTOCOLS,
    RepresentationConfig: REPRESENTATIONS,
    PredictorConfig: PREDICTORS,
    NetworkConfig: NETWORKS,
    PlannerConfig: PLANNERS,
    Job: PRETRAININGS,
}
"""The parts of each role by name: a class, or a config with settings of its own.

A class whose module builds on the registry is named as ``module:class``, and imported on first use.
"""


def register(name: str) -> Callable[[C], C]:
    """Return a decorator that adds a part to the table of its role, found by its base class.

    The part can then be chosen as ``role:name``, and runs with it can be stored and loaded. Raises
    UsageError if the name is taken, if the class is no dataclass of a role, or if the types of its
    settings cannot be resolved.

    Example::

        @register("rows")
        @dataclass(frozen=True)
        class RowSumsConfig(RepresentationConfig): ...
    """

    def add(part: C) -> C:
        kind = _class_of(part)
        base = next((base for base in TABLES if issubclass(kind, base)), None)
        if base is None or "__dataclass_params__" not in vars(kind):
            raise UsageError(
                f"{kind.__name__} cannot be registered as '{name}'; it must be a frozen dataclass "
                f"that subclasses one of {', '.join(base.__name__ for base in TABLES)}."
            )
        try:
            get_type_hints(kind)
        except NameError as error:
            raise UsageError(
                f"{kind.__name__} cannot be registered as '{name}', since the type of a setting is "
                f"unknown ({error}); import it above the class, not for type checkers alone."
            ) from error
        taken = TABLES[base].get(name)
        if taken is not None and class_name(taken) != class_name(kind):
            raise UsageError(
                f"{kind.__name__} cannot be registered as '{name}', which is the {role_name(base)} "
                f"{class_name(taken)}; choose another name."
            )
        TABLES[base][name] = part  # a module that is executed again replaces its own part
        return part

    return add


def registered_class(name: Any) -> Any:
    """Return the registered class of a stored name; None if there is none.

    Raises UsageError if two have the name.
    """
    entries = [Experiment, *(entry for table in TABLES.values() for entry in table.values())]
    found = {_class_of(entry) for entry in entries if class_name(entry) == name}
    if len(found) > 1:
        raise UsageError(f"Two registered classes are named {name}; rename one.")
    return resolve(found.pop()) if found else None


def part_class(entry: Any) -> Any:
    """Return the class of a table's entry, imported if the table has its name."""
    return resolve(_class_of(entry))


def class_name(entry: Any) -> str:
    """Return the name by which the class of a table's entry is stored.

    It is the class's own, with the module's before it if that is not of this package: a module of
    this package may be renamed without a change of the runs.
    """
    kind = _class_of(entry)
    if isinstance(kind, str):
        return kind.rpartition(":")[2]
    module, package = public_name(kind.__module__), __name__.partition(".")[0]
    own = module.partition(".")[0] == package
    return kind.__qualname__ if own else f"{module}:{kind.__qualname__}"


def public_name(module: str) -> str:
    """Return the name by which others import a module; a script's is that of its file."""
    if module not in ("__main__", "__mp_main__"):
        return module
    main = sys.modules["__main__"]  # it has a spec if it is run by python -m
    return main.__spec__.name if main.__spec__ else Path(getattr(main, "__file__", module)).stem


def resolve(entry: Any) -> Any:
    """Return a table's entry, imported if the table has its name."""
    return resolve_name(entry) if isinstance(entry, str) else entry


def role_name(base: type) -> str:
    """Return the name of the role with a base class: ``representation``, ``protocol``."""
    return base.__name__.removesuffix("Config").removeprefix("Atari").lower()


def _class_of(entry: Any) -> Any:
    return entry if isinstance(entry, type | str) else type(entry)
