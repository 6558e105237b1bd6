"""The registry of roles: which parts can fill each, and how they are chosen by name.

A role is the type of a config's field, and the role's table lists its parts. A part of another
package needs a config that subclasses the role's config base, and ``register``. Only registered
classes are stored and loaded.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, get_type_hints

from ...agents.bonuses.bonus import BonusConfig, NoBonusConfig
from ...agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from ...agents.bonuses.simhash import SimHashConfig
from ...agents.bonuses.true_counts import TrueCountsConfig
from ...agents.dqn import DQNConfig
from ...agents.dyna import DynaConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.informed import InformedConfig
from ...agents.interface import AgentConfig
from ...agents.mpc import MPCConfig
from ...agents.networks import NETWORKS, NetworkConfig
from ...agents.ppo import PPOConfig
from ...agents.pqn import PQNConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean
from ...envs.atari.protocol import PROTOCOLS, AtariProtocol
from ...envs.catch import CatchConfig
from ...envs.deep_sea import DeepSeaConfig
from ...envs.errors import UsageError
from ...envs.gym import GymConfig
from ...envs.interface import EnvConfig
from ...envs.maze import MazeConfig
from ...envs.minatar import MinAtarConfig
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
    "dqn": DQNConfig,
    "ppo": PPOConfig,
    "pqn": PQNConfig,
    "dyna": DynaConfig,
    "mpc": MPCConfig,
    "informed": InformedConfig,
}

BONUSES: dict[str, type[BonusConfig]] = {
    "none": NoBonusConfig,
    "pseudo-count": PseudoCountConfig,
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
    EnvConfig: ENVS | {"imagination": f"{TRAINING}.imagined_env:ImaginationConfig"},
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
    UsageError if the name is taken, or if the class is no dataclass of a role.

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


def part_name(part: Any) -> str:
    """Return the name of a part in its role's table.

    ``part`` is a config, or the JSON values in which a run folder stores it. Of the entries of its
    class, it is the one with the most settings in common. A class that is not registered has its
    own name.
    """
    stored = part["class"] if isinstance(part, dict) else class_name(type(part))
    entries = [x for table in TABLES.values() for x in table.items() if class_name(x[1]) == stored]
    if len(entries) < 2:
        return entries[0][0] if entries else stored.rpartition(":")[2].removesuffix("Config")
    settings = dict(_settings(part))

    def num_different(entry: Any) -> int:
        usual = _settings(entry_config(entry))
        return sum(value != settings.get(path) for path, value in usual)

    return min(entries, key=lambda x: num_different(x[1]))[0]


def entry_config(entry: Any) -> Any:
    """Return the config of a table's entry, of a class with its default settings."""
    entry = resolve(entry)
    return entry() if isinstance(entry, type) else entry


def part_at(config: Any, path: str) -> Any:
    """Return the part of a config that fills the role at a dotted path."""
    return reduce(getattr, path.split("."), config)


def _class_of(entry: Any) -> Any:
    return entry if isinstance(entry, type | str) else type(entry)


def roles(config: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every role of a config as (dotted path, table), outer roles first."""
    for field in fields(config):
        kind = get_type_hints(type(config))[field.name]
        if kind in TABLES:
            yield prefix + field.name, TABLES[kind]
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from roles(value, f"{prefix}{field.name}.")


def references(job: Any) -> dict[str, str]:
    """Return the privileged references of a job by the dotted path of their role.

    ``job`` is a config, or the JSON values in which a run folder stores it; there a part that is
    not registered counts as none.

    Example::

        from reverie.experiments.config.presets import PRESETS
        from reverie.experiments.config.registry import choose_all, references

        job = choose_all(PRESETS["dqn"], ["env:catch", "bonus:true-counts"])
        assert references(job) == {"bonus": "true-counts"}
    """
    parts = ((path, part, _kind(part)) for path, part in _parts(job) if path)
    return {path: part_name(part) for path, part, kind in parts if kind and is_reference(kind)}


def is_reference(part: Any) -> bool:
    """Return whether a part's config, or its class, is that of a privileged reference.

    Such a part reads the true state, or it steps snapshots of the env.
    """
    return any(getattr(part, x, False) for x in ("needs_privileged", "needs_snapshots"))


def _parts(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a config, or its JSON values, and the configs in it, by dotted path."""
    if is_dataclass(config) or (isinstance(config, dict) and "class" in config):
        yield path, config
        for name, value in _fields(config):
            yield from _parts(value, f"{path}.{name}" if path else name)


def _settings(part: Any) -> Iterator[tuple[str, str]]:
    """Yield the classes and the other settings of a part by dotted path, as text."""
    for path, inner in _parts(part):
        kind = inner["class"] if isinstance(inner, dict) else class_name(type(inner))
        yield f"{path}.class", kind
        for name, value in _fields(inner):
            if not is_dataclass(value) and not isinstance(value, dict):
                yield f"{path}.{name}", str(list(value) if isinstance(value, tuple) else value)


def _kind(part: Any) -> Any:
    """Return the class of a part; None if its JSON values name none that is registered."""
    return registered_class(part["class"]) if isinstance(part, dict) else type(part)


def _fields(part: Any) -> Iterator[tuple[str, Any]]:
    values = part if isinstance(part, dict) else vars(part)
    return ((name, value) for name, value in values.items() if name != "class")


def choose_all(config: C, tokens: list[str]) -> C:
    """Apply ``role:name`` tokens: outer roles together, then inner ones by depth.

    Raises UsageError for an unknown role or part.
    """
    pairs = [(path, name) for path, _, name in (token.partition(":") for token in tokens)]
    outer = {path: _entry(config, path, name) for path, name in pairs if "." not in path}
    # Together, as an agent may refuse the bonus that the previous one had.
    config = replace(config, **outer)  # type: ignore[type-var]
    inner = [(path, name) for path, name in pairs if "." in path]
    for path, name in sorted(inner, key=lambda pair: pair[0].count(".")):
        config = _replace_at(config, path, _entry(config, path, name))
    return config


def _entry(config: Any, path: str, name: str) -> Any:
    """The named part; a part of the same class keeps the settings of its preset."""
    known = dict(roles(config))
    if path not in known:
        hint = did_you_mean(path, known) or f" The roles here are {', '.join(known)}."
        raise UsageError(f"There is no role '{path}'.{hint}")
    if name not in known[path]:
        hint = did_you_mean(name, known[path]) or (
            f" Choose among {', '.join(known[path])}; --import MODULE adds parts of your own."
        )
        raise UsageError(f"There is no {path} '{name}'.{hint}")
    entry, current = resolve(known[path][name]), part_at(config, path)
    if not isinstance(entry, type):
        return entry
    return current if type(current) is entry else entry()


def _replace_at(config: Any, path: str, entry: Any) -> Any:
    head, _, rest = path.partition(".")
    inner = _replace_at(getattr(config, head), rest, entry) if rest else entry
    return replace(config, **{head: inner})
