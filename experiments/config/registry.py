"""The registry of roles: which parts can fill each, and how they are chosen by name.

A role is the type of a config's field, and the role's table lists its parts. A part of another
package only needs a config that subclasses the role's config base.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import reduce
from importlib import import_module
from typing import Any, TypeVar, get_type_hints

from ...agents.bonuses.bonus import BonusConfig, NoBonusConfig
from ...agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from ...agents.bonuses.simhash import SimHashConfig
from ...agents.dqn import DQNConfig
from ...agents.dyna import DynaConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.informed import InformedConfig
from ...agents.interface import AgentConfig
from ...agents.mpc import MPCConfig
from ...agents.networks import NETWORKS, NetworkConfig
from ...agents.ppo import PPOConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean
from ...envs.atari.protocol import PROTOCOLS, AtariProtocol
from ...envs.catch import CatchConfig
from ...envs.deep_sea import DeepSeaConfig
from ...envs.errors import UsageError
from ...envs.gym import GymConfig
from ...envs.interface import EnvConfig
from ...envs.maze import MazeConfig
from ...world_models.density import DENSITIES
from ...world_models.interface import (
    DensityConfig,
    PlannerConfig,
    PredictorConfig,
    RepresentationConfig,
)
from ...world_models.planning import PLANNERS
from ...world_models.prediction import PREDICTORS
from ...world_models.representation import REPRESENTATIONS

C = TypeVar("C")


@dataclass(frozen=True)
class Deferred:
    """A class that is imported on first use, because its module builds on the registry."""

    module: str
    name: str

    def load(self) -> Any:
        """Import the module and return the class."""
        return getattr(import_module(self.module, __package__), self.name)


AGENTS: dict[str, type[AgentConfig]] = {
    "mfec": MFECConfig,
    "dqn": DQNConfig,
    "ppo": PPOConfig,
    "dyna": DynaConfig,
    "mpc": MPCConfig,
    "informed": InformedConfig,
}

BONUSES: dict[str, type[BonusConfig]] = {
    "none": NoBonusConfig,
    "pseudo-count": PseudoCountConfig,
    "simhash": SimHashConfig,
    "surprise": SurpriseConfig,
}

ENVS: dict[str, type[EnvConfig]] = {
    "atari": AtariConfig,
    "catch": CatchConfig,
    "deep-sea": DeepSeaConfig,
    "gym": GymConfig,
    "maze": MazeConfig,
}

PRETRAININGS: dict[str, Deferred] = {
    "predictor": Deferred("..training.predictors", "PredictorPretraining"),
    "representation": Deferred("..training.representations", "RepresentationPretraining"),
}
"""What `reverie pretrain ROLE:NAME` can pretrain, by role."""

TABLES: dict[type, Mapping[str, Any]] = {
    AgentConfig: AGENTS,
    BonusConfig: BONUSES,
    DensityConfig: DENSITIES,
    EnvConfig: ENVS | {"imagination": Deferred("..training.imagined_env", "ImaginationConfig")},
    AtariProtocol: PROTOCOLS,
    RepresentationConfig: REPRESENTATIONS,
    PredictorConfig: PREDICTORS,
    NetworkConfig: NETWORKS,
    PlannerConfig: PLANNERS,
}
"""The parts of each role by name."""


def roles(config: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every role of a config as (dotted path, table), outer roles first."""
    for field in fields(config):
        kind = get_type_hints(type(config))[field.name]
        if kind in TABLES:
            yield prefix + field.name, TABLES[kind]
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from roles(value, f"{prefix}{field.name}.")


def choose(config: C, path: str, name: str) -> C:
    """Return the config with another part in a role, as in ("agent.representation", "projection").

    Raises UsageError for an unknown role or part.
    """
    changed: C = _replace_at(config, path, _entry(config, path, name))
    return changed


def choose_all(config: C, tokens: list[str]) -> C:
    """Apply ``role:name`` tokens: outer roles together, then inner ones by depth."""
    pairs = [(path, name) for path, _, name in (token.partition(":") for token in tokens)]
    outer = {path: _entry(config, path, name) for path, name in pairs if "." not in path}
    if outer:  # together: an agent may refuse the bonus that the previous one had
        config = replace(config, **outer)  # type: ignore[type-var]
    inner = [(path, name) for path, name in pairs if "." in path]
    for path, name in sorted(inner, key=lambda pair: pair[0].count(".")):
        config = choose(config, path, name)
    return config


def _entry(config: Any, path: str, name: str) -> Any:
    """The named part; a part of the same class keeps the settings of its preset."""
    known = dict(roles(config))
    if path not in known:
        raise UsageError(f"There is no role '{path}'; the roles here are {', '.join(known)}.")
    if name not in known[path]:
        hint = did_you_mean(name, known[path]) or f" Choose among {', '.join(known[path])}."
        raise UsageError(f"There is no {path} '{name}'.{hint}")
    entry, current = known[path][name], reduce(getattr, path.split("."), config)
    entry = entry.load() if isinstance(entry, Deferred) else entry
    if not isinstance(entry, type):
        return entry
    return current if type(current) is entry else entry()


def _replace_at(config: Any, path: str, entry: Any) -> Any:
    head, _, rest = path.partition(".")
    inner = _replace_at(getattr(config, head), rest, entry) if rest else entry
    return replace(config, **{head: inner})
