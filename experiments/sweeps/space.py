"""The space of a sweep: settings with a range or a list of values, and draws from it.

A draw is a pure function of the sweep's seed, the setting's name and the number of the draw. Trials
are therefore the same whatever their number, and whatever other settings vary.
"""

import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, get_args

import torch

from ...agents.interface import AgentConfig, settings_at
from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ...envs.prng import Purpose, fold_in, keys, uniform
from ..config.config_file import description, keys_of, read_value, typed_fields
from ..config.experiment import Experiment
from ..config.registry import TABLES
from ..config.yaml_nodes import Node

NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(?:(log|linear):)?({NUMBER})\.\.({NUMBER})")
DECADE = 10.0
"""Ratio of the ends of a positive range from which on it is drawn logarithmically."""
MAX_MISSES = 1_000
"""Draws in sequence, each refused or the same as one before, that end the search for a trial."""
FIXED = {
    "env": "scores of different envs do not compare; sweep each on its own",
    "seed": "it is no setting to choose; give the number of seeds as --seeds N",
    "total_timesteps": "all trials have the same length; --halving stops the worse ones early",
    "init_from": "trials start alike; give one run",
}
"""What does not vary in a sweep, and why."""


@dataclass(frozen=True)
class Dimension:
    """A setting that varies: some values of its type, or numbers of a range."""

    path: str
    """Dotted path of the setting in an experiment."""
    text: str
    """The range or the values as they were written."""
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    """Whether the logarithm of a number is uniform."""
    whole: bool = False
    """Whether the numbers are whole; both ends are included."""

    @property
    def flag(self) -> str:
        """The flag of the setting."""
        return f"--{self.path.replace('_', '-')}"

    @property
    def size(self) -> float:
        """The number of different values, infinite for real numbers."""
        numbers = self.high - self.low + 1 if self.whole else math.inf
        return len(self.values) or numbers

    def value(self, u: float) -> Any:
        """Return the value at a quantile in [0, 1).

        Numbers have three significant digits, or a thousandth of a linear range's width.
        """
        if self.values:
            return self.values[int(u * len(self.values))]
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        x = low * (high / low) ** u if self.log else low + u * (high - low)
        if self.whole:
            return min(math.floor(x), int(self.high))
        digits = 3 - math.ceil(math.log10(high - low))
        x = float(f"{x:.3g}") if self.log else round(x, digits)
        return min(max(x, self.low), self.high)


def parse_dimension(config: Any, path: str, text: str) -> Dimension:
    """Return the dimension that a text stands for at the path of a setting of a config.

    Raises UsageError for a setting that does not vary, an empty range or a wrong value.
    """
    for name, reason in FIXED.items():
        if f"{path}.".startswith(f"{name}."):
            raise UsageError(f"{path} is {text}: {reason}.")
    kind = kind_of(config, path)
    if (match := RANGE.fullmatch(text)) is None:
        try:
            values = tuple(read_value(Node(x.strip(), 0), kind) for x in text.split(","))
        except (ValueError, LookupError) as error:
            raise UsageError(
                f"{path} is {text}; it must be values separated by commas, each "
                f"{description(kind)}, or a range of numbers such as 1e-4..1e-2."
            ) from error
        return Dimension(path, text, tuple(dict.fromkeys(values)))
    scale, low, high = match[1], float(match[2]), float(match[3])
    if not _is_number(kind):
        raise UsageError(f"{path} is {text}; it must be values separated by commas.")
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"{path} is {text}; a range ascends, as in 1e-4..1e-2.")
    whole = float not in (kind, *get_args(kind))
    if whole and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{path} is {text}; its ends must be whole numbers.")
    if scale == "log" and low <= 0:
        raise UsageError(f"{path} is {text}; a logarithmic range has ends above 0.")
    log = scale == "log" or (scale is None and low > 0 and high / low >= DECADE)
    return Dimension(path, text, low=low, high=high, log=log, whole=whole)


def space_text(node: Node, kind: Any) -> str | None:
    """Return the range or the values that a file has for a setting; None if it has one value."""
    if isinstance(node.value, str):
        return node.value if _is_number(kind) and RANGE.fullmatch(node.value) else None
    if not isinstance(node.value, list) or _is_tuple(kind):
        return None
    texts = [x.value for x in node.value if isinstance(x.value, str)]
    return ",".join(texts) if texts and len(texts) == len(node.value) else None


def take_spaces(flags: Sequence[str], config: Any) -> tuple[list[str], dict[str, str]]:
    """Remove the flags whose value is a range or several values; return the others and these.

    ``flags`` are followed by their values. The texts are given by the path of a setting of the
    config.
    """
    kept, spaces, i = list[str](), dict[str, str](), 0
    while i < len(flags):
        name, equals, value = flags[i].partition("=")
        following = flags[i + 1] if i + 1 < len(flags) else ""
        text = value if equals else following
        path = name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and _is_space(text) and _varies(config, path):
            spaces[path] = text
            i += 1 if equals else 2
        else:
            kept.append(flags[i])
            i += 1
    return kept, spaces


def kind_of(config: Any, path: str) -> Any:
    """Return the type of a setting at a dotted path; raises UsageError if there is none."""
    *outer, name = path.split(".")
    for part in outer:
        config = getattr(config, part, None)
    kinds = {field.name: kind for field, kind in typed_fields(config)} if _is_part(config) else {}
    if name not in kinds or kinds[name] in TABLES:
        hint = did_you_mean(name, keys_of(config)) if _is_part(config) else ""
        raise UsageError(f"There is no setting {path} in this experiment.{hint}")
    return kinds[name]


def trial_settings(
    space: Sequence[Dimension], base: Experiment, trials: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the settings of each trial by path: draws that differ and that no config refuses.

    Fewer trials come if the space has no more. Raises UsageError if each draw is refused.
    """
    seen, refusal = set[tuple[Any, ...]](), None
    size = math.prod(x.size for x in space)
    found = draw = misses = 0
    while found < trials and len(seen) < size and misses < MAX_MISSES:
        values = {x.path: x.value(_quantile(seed, x.path, draw)) for x in space}
        draw, misses = draw + 1, misses + 1
        if (key := tuple(values.values())) in seen:
            continue
        seen.add(key)
        try:
            with_settings(base, values)
        except UsageError as error:
            refusal = error
            continue
        found, misses = found + 1, 0
        yield values
    if refusal and not found:
        raise UsageError(f"No settings of the sweep are allowed: {refusal}") from refusal


def refusals(space: Sequence[Dimension], base: Experiment) -> Iterator[str]:
    """Yield why the experiment refuses a listed value, for each that it does."""
    for dimension in space:
        for value in dimension.values:
            try:
                with_settings(base, {dimension.path: value})
            except UsageError as error:
                yield str(error)


def with_settings(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a config with settings by dotted path, which are set at once.

    Raises UsageError if the config refuses them.
    """
    changes: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, dot, rest = path.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = value
        else:
            changes[head] = value
    for head, own in inner.items():
        part = getattr(config, head)
        in_agent = isinstance(config, AgentConfig) and isinstance(part, AgentConfig)
        with settings_at(f"agent.{head}" if in_agent else "agent"):
            changes[head] = with_settings(part, own)
    return replace(config, **changes)


def _quantile(seed: int, path: str, draw: int) -> float:
    root = fold_in(seed, zlib.crc32(path.encode()))
    return float(uniform(keys(root, Purpose.SETTING, torch.tensor([draw])), 1))


def _varies(config: Any, path: str) -> bool:
    """Return whether there is a setting at a path that takes one value."""
    try:
        return not _is_tuple(kind_of(config, path))
    except UsageError:
        return False


def _is_space(text: str) -> bool:
    return "," in text or RANGE.fullmatch(text) is not None


def _is_part(config: Any) -> bool:
    return is_dataclass(config) and not isinstance(config, type)


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _is_number(kind: Any) -> bool:
    return bool({int, float} & {kind, *get_args(kind)})
