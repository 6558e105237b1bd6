"""An experiment as a value: parts chosen by name, tuned by flags, written to and read from JSON.

A role is the type of a config's field, and the role's table names who can fill it. So a part that
lives elsewhere only needs to subclass the role's config base.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import reduce
from typing import Any, TypeVar, get_type_hints

from typeguard import TypeCheckError, check_type

from agents.bonus import BonusConfig, NoBonusConfig
from agents.choices import AGENTS, BONUSES
from agents.episodic import EpisodicConfig
from agents.interface import AgentConfig
from agents.networks import NETWORKS, NetworkConfig
from envs.atari import AtariConfig
from envs.checks import at_least, check, within
from envs.choices import ENVS
from envs.errors import UsageError
from envs.games import near_names
from envs.interface import EnvConfig
from envs.protocol import PROTOCOLS, AtariProtocol
from experiments.dreams import ImaginationConfig
from world_models.density import DENSITIES
from world_models.interface import (
    DensityConfig,
    PlannerConfig,
    PredictorConfig,
    RepresentationConfig,
)
from world_models.planning import PLANNERS
from world_models.prediction import PREDICTORS
from world_models.representation import REPRESENTATIONS

C = TypeVar("C")

TABLES: dict[type, Mapping[str, Any]] = {
    AgentConfig: AGENTS,
    BonusConfig: BONUSES,
    DensityConfig: DENSITIES,
    EnvConfig: ENVS | {"imagination": ImaginationConfig},
    AtariProtocol: PROTOCOLS,
    RepresentationConfig: REPRESENTATIONS,
    PredictorConfig: PREDICTORS,
    NetworkConfig: NETWORKS,
    PlannerConfig: PLANNERS,
}
"""Who can fill each role."""


@dataclass(frozen=True)
class Job:
    """What a run folder can hold: an experiment, or the pretraining of a model."""


@dataclass(frozen=True)
class Experiment(Job):
    """An agent, a world, what is paid for exploring it, and how long they meet."""

    agent: AgentConfig = EpisodicConfig()
    env: EnvConfig = AtariConfig()
    bonus: BonusConfig = NoBonusConfig()
    seed: int = 0
    steps: int = 1_000_000
    """Agent steps, counted over all streams."""
    streams: int = 16
    """Copies of the world in flight."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "steps", "streams")
        check(self, "", within(1, 10**15), "steps")
        check(self, "", within(1, 10**5), "streams")
        check(self, "", within(0, 2**63 - 1), "seed")
        if self.agent.refuses_bonus and not isinstance(self.bonus, NoBonusConfig):
            raise UsageError(
                f"The agent {type(self.agent).__name__.removesuffix('Config')} takes no bonus: "
                f"{self.agent.refuses_bonus}. Choose bonus:none or another agent."
            )


def roles(config: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every role in a config, as (dotted path, table of choices), outer ones first."""
    for field in fields(config):
        kind = get_type_hints(type(config))[field.name]
        if kind in TABLES:
            yield prefix + field.name, TABLES[kind]
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from roles(value, f"{prefix}{field.name}.")


def choose(config: C, path: str, name: str) -> C:
    """The config with another part in a role, such as ("agent.representation", "projection")."""
    changed: C = _replace_at(config, path, _entry(config, path, name))
    return changed


def _entry(config: Any, path: str, name: str) -> Any:
    """The part of that name; one already there keeps the settings of its preset."""
    known = dict(roles(config))
    if path not in known:
        raise UsageError(f"There is no role '{path}'; the roles here are {', '.join(known)}.")
    if name not in known[path]:
        hint = near_names(name, known[path]) or f" Choose among {', '.join(known[path])}."
        raise UsageError(f"There is no {path} '{name}'.{hint}")
    entry, current = known[path][name], reduce(getattr, path.split("."), config)
    if not isinstance(entry, type):
        return entry
    return current if type(current) is entry else entry()


def _replace_at(config: Any, path: str, entry: Any) -> Any:
    head, _, rest = path.partition(".")
    inner = _replace_at(getattr(config, head), rest, entry) if rest else entry
    return replace(config, **{head: inner})


def choose_all(config: C, tokens: list[str]) -> C:
    """Apply ``role:name`` tokens, outer roles first, those of one level at once."""
    pairs = [(path, name) for path, _, name in (token.partition(":") for token in tokens)]
    outer = {path: _entry(config, path, name) for path, name in pairs if "." not in path}
    if outer:  # together, because an agent may refuse the bonus that another one had
        config = replace(config, **outer)  # type: ignore[type-var]
    inner = [(path, name) for path, name in pairs if "." in path]
    for path, name in sorted(inner, key=lambda pair: pair[0].count(".")):
        config = choose(config, path, name)
    return config


def encode(config: Any) -> Any:
    """A config as JSON values; each dataclass says its import path."""
    if is_dataclass(config) and not isinstance(config, type):
        kind = type(config)
        values = {field.name: encode(getattr(config, field.name)) for field in fields(config)}
        return {"class": f"{kind.__module__}:{kind.__qualname__}"} | values
    if isinstance(config, tuple):
        return [encode(item) for item in config]
    return config


def decode(base: type[C], data: dict[str, Any]) -> C:
    """The inverse of ``encode``; only ``base`` and its imported subclasses are accepted."""
    path = data.get("class")
    kinds = {f"{kind.__module__}:{kind.__qualname__}": kind for kind in _family(base)}
    if path not in kinds:
        raise UsageError(
            f"The config names {path}, which is no known {base.__name__}; "
            "if it is a part of your own, import its module first (--with my_module)."
        )
    kind, hints = kinds[path], get_type_hints(kinds[path])
    unknown = set(data) - set(hints) - {"class"}
    if unknown:
        raise UsageError(f"The config of {path} has unknown fields: {', '.join(sorted(unknown))}.")
    values = {}
    for name, value in data.items():
        if name == "class":
            continue
        if isinstance(value, dict):
            if not is_dataclass(hints[name]):
                raise UsageError(f"The config of {path} has a part as its {name}.")
            value = decode(hints[name], value)
        else:
            value = _tuples(value)
        try:
            values[name] = check_type(value, hints[name])
        except TypeCheckError as error:
            raise UsageError(f"The config of {path} has a wrong {name}: {error}.") from error
        if isinstance(value, bool) and hints[name] in (int, float):
            raise UsageError(f"The config of {path} has a wrong {name}: {value} is no number.")
    return kind(**values)


def differences(a: Any, b: Any) -> list[str]:
    """What differs between two encoded configs, as "path: a, not b" lines."""
    flat_a, flat_b = _flatten(a), _flatten(b)
    return [
        f"{path}: {flat_a.get(path, 'absent')}, not {flat_b.get(path, 'absent')}"
        for path in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(path) != flat_b.get(path)
    ]


def fingerprint(job: Job) -> str:
    """Six hexadecimal digits of everything but the number of steps."""
    text = json.dumps({**encode(job), "steps": 1}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _family(base: type[C]) -> Iterator[type[C]]:
    yield base
    for child in base.__subclasses__():
        yield from _family(child)


def _flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix.rstrip("."): data}
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= _flatten(value, f"{prefix}{name}.")
    return flat
