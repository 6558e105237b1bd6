"""Variants: how the configs of runs differ, and the names derived from the differences."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from ..config.roles import part_name, references
from ..runs.config_differences import flatten
from ..runs.files import to_json
from ..verdicts.intervals import Key
from ..verdicts.verdict_rule import Score
from .run_results import RunResult


@dataclass(frozen=True)
class Variant:
    """The runs of one config in some envs with some seeds."""

    label: str
    choices: dict[str, str]
    """The setting of each part that differs between variants, as text."""
    settings: dict[str, Any]
    """The config's leaves by dotted path; a part is listed as ``role`` with its name."""
    results: list[RunResult]

    @property
    def references(self) -> dict[str, str]:
        """The parts that read the true state, by role."""
        return references(self.results[0].config)

    def scores(self, kind: Score) -> dict[Key, float]:
        """Return the score of each run."""
        return {(x.env_name, x.seed): x.score(kind) for x in self.results}


def env_names(results: list[RunResult]) -> list[str]:
    """Return the env name of each result.

    Settings that differ are added to the name of envs that have the same name.
    """
    envs = [
        (result.scores.env_name, flatten(result.config["env"] | {"protocol": None}, part_name))
        for result in results
    ]
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, env in envs:
        for path, value in env.items():
            values[name, path].add(str(value))
    names = []
    for name, env in envs:
        differing = [f"{path} {x}" for path, x in env.items() if len(values[name, path]) > 1]
        names.append(f"{name} ({', '.join(differing)})" if differing else name)
    return names


def make_variants(results: list[RunResult], baseline: str) -> list[Variant]:
    """Group results by variant, the baseline first.

    ``baseline`` is the name of a run folder; by default the variant with the fewest settings.
    """
    groups: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        groups[to_json(result.variant_config, sort_keys=True)].append(result)
    flats = {key: flatten(runs[0].variant_config, part_name) for key, runs in groups.items()}
    named = [key for key, runs in groups.items() if baseline in (x.folder.name for x in runs)]
    first = min(named or groups, key=lambda key: len(flats[key]))
    differing = {
        key: {
            path: f"{path} {value}"
            for path, value in flat.items()
            if len({str(x.get(path)) for x in flats.values() if _same_part(path, flat, x)}) > 1
        }
        for key, flat in flats.items()
    }
    paths = [path for each in differing.values() for path in each]
    variants = []
    for key in sorted(groups, key=lambda key: key != first):
        choices: dict[str, str] = {}
        for path, text in differing[key].items():
            part = min((x for x in paths if f"{path}.".startswith(f"{x}.")), key=len)
            choices[part] = ", ".join(filter(None, [choices.get(part), text]))
        label = ", ".join(choices.values()) or str(flats[key].get("agent", "the only variant"))
        variants.append(Variant(label, choices, flats[key], groups[key]))
    return variants


def _same_part(path: str, flat: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether a setting is of a part that the other variant has, too."""
    outer = [path[:i] for i, letter in enumerate(path) if letter == "."]
    return all(flat.get(role) == other.get(role) for role in outer)
