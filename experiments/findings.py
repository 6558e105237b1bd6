"""Run folders read as evidence: which runs can be compared, and what the comparison says."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from envs.errors import UsageError
from envs.games import human_normalised
from experiments.config import TABLES
from experiments.run import Run
from experiments.statistics import (
    Array,
    Interval,
    mean_difference,
    paired_differences,
    probability_of_improvement,
)

WINDOW = 100
"""Training episodes that a point of a learning curve is the mean of."""
APART = ("env", "seed", "steps")
"""Fields of an experiment that do not make another variant of it."""


@dataclass(frozen=True, eq=False)
class Record:
    """One finished run: what it was, and the scores of its final checkpoint."""

    folder: Path
    config: dict[str, Any]
    scores: dict[str, Any]
    """As ``reverie evaluate`` left them, under the run's own protocol."""
    others: list[dict[str, Any]]
    """The same checkpoint under other protocols."""
    episodes: list[dict[str, Any]]
    """Training episodes, in order."""
    steps: int
    """Agent steps of the checkpoint that was evaluated."""
    frames: int
    provenance: dict[str, Any]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def score(self) -> float:
        return float(self.scores["mean"])

    @cached_property
    def variant(self) -> str:
        """Everything in the config that could be swapped, as one string."""
        rest = {name: x for name, x in self.config.items() if name not in APART}
        return json.dumps(rest, sort_keys=True)

    @cached_property
    def curve(self) -> tuple[Array, Array]:
        """Agent steps, and the mean of the last ``WINDOW`` training scores (fewer at first)."""
        steps = np.array([row["step"] for row in self.episodes], float)
        scores = np.array([row["score"] for row in self.episodes], float)
        sums = np.concatenate([[0.0], scores.cumsum()])
        ends = np.arange(1, len(scores) + 1)
        begins = np.maximum(ends - WINDOW, 0)
        return steps, (sums[ends] - sums[begins]) / (ends - begins)

    @property
    def last_of_training(self) -> float:
        """Mean of the last ``WINDOW`` training episodes; nan where there were fewer."""
        return float(self.curve[1][-1]) if len(self.episodes) >= WINDOW else float("nan")

    @property
    def best_of_training(self) -> tuple[float, int]:
        """The highest mean of ``WINDOW`` successive training episodes, and its agent step."""
        if len(self.episodes) < WINDOW:
            return float("nan"), 0
        steps, means = self.curve
        best = WINDOW - 1 + int(np.argmax(means[WINDOW - 1 :]))
        return float(means[best]), int(steps[best])


@dataclass(frozen=True)
class Verdict:
    """Whether a variant helps, against the baseline, over runs paired by world and seed."""

    variant: str
    world: str
    """A world's name, or "all worlds"."""
    unit: str
    difference: Interval
    improvement: float
    """Probability that a run of the variant beats one of the baseline."""
    pairs: int

    @property
    def word(self) -> str:
        return {1: "helps", -1: "hurts", 0: "cannot tell"}[self.difference.sign]


@dataclass(frozen=True)
class Comparison:
    """Runs of one protocol and length: their numbers may stand in one table."""

    protocol: str
    epsilon: float
    steps: int
    frames: int
    records: list[Record]
    worlds: dict[Path, str]
    """The name of each run's world."""
    labels: dict[str, str]
    """The name of each variant, the baseline's first."""

    @property
    def title(self) -> str:
        frames = f" ({self.frames:,} frames)" if self.frames != self.steps else ""
        return f"protocol {self.protocol}, {self.steps:,} agent steps{frames}"

    @property
    def world_names(self) -> list[str]:
        return list(dict.fromkeys(self.worlds[record.folder] for record in self.records))

    @property
    def baseline(self) -> str:
        return next(iter(self.labels))

    @property
    def human(self) -> bool:
        """Whether scores of every world can be human-normalised."""
        return all(human_normalised(world, 0.0) is not None for world in self.world_names)

    def of(self, variant: str, world: str | None = None) -> list[Record]:
        """A variant's runs, by world and seed."""
        return [
            record
            for record in self.records
            if record.variant == variant and world in (None, self.worlds[record.folder])
        ]

    def scores(self, variant: str) -> dict[str, Array]:
        """Each run's final score, by world."""
        found: dict[str, list[float]] = {}
        for record in self.of(variant):
            found.setdefault(self.worlds[record.folder], []).append(record.score)
        return {world: np.array(values) for world, values in found.items()}

    def verdicts(self) -> list[Verdict]:
        """Of each variant against the baseline, by the final scores."""
        return judge({label: self._keyed(variant) for variant, label in self.labels.items()})

    def _keyed(self, variant: str) -> dict[tuple[str, int], float]:
        return {(self.worlds[r.folder], r.seed): r.score for r in self.of(variant)}


def judge(scores: Mapping[str, Mapping[tuple[str, int], float]]) -> list[Verdict]:
    """Each variant against the first one, from scores by world and seed.

    Over all worlds where their scores can be human-normalised, and in each by raw points.
    """
    baseline, *variants = scores
    found = []
    for variant in variants:
        sides = (scores[variant], scores[baseline])
        points = paired_differences(*sides)
        parts = [(world, "points", {world: each}) for world, each in points.items()]
        if len(points) > 1 and all(human_normalised(world, 0.0) is not None for world in points):
            human = paired_differences(*map(_human, sides))
            parts.insert(0, ("all worlds", "human-normalised", human))
        for world, unit, differences in parts:
            strata = [
                [
                    np.array([x for (name, _), x in side.items() if name == one])
                    for one in differences
                ]
                for side in sides
            ]
            found.append(
                Verdict(
                    variant,
                    world,
                    unit,
                    mean_difference(list(differences.values())),
                    float(probability_of_improvement(*strata)),
                    sum(map(len, differences.values())),
                )
            )
    return found


def read(folders: Sequence[Path]) -> tuple[list[Record], list[str]]:
    """The runs in these folders or below them, and a sentence about each that was left out.

    Raises UsageError where there is no scored run, for a score that is no number, and for two
    runs of the same experiment.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.")
        runs = sorted(path.parent.resolve() for path in folder.rglob("config.json"))
        if not runs:
            raise UsageError(f"{folder} holds no run: no config.json is in it or below it.")
        found |= dict.fromkeys(runs)
    records, left_out = [], []
    for folder in found:
        if not (folder / "scores.json").exists():
            left_out.append(
                f"{folder.name} has no scores and is left out; `reverie evaluate` makes them."
            )
        else:
            records.append(_record(folder))
    if not records:
        raise UsageError(f"{left_out[0]} No other run is left to report.")
    seen: dict[tuple[str, ...], Path] = {}
    for record in records:
        key = (json.dumps(record.config, sort_keys=True), str(record.steps))
        if key in seen:
            raise UsageError(
                f"{seen[key]} and {record.folder} are the same experiment with the same seed; "
                "report one of them."
            )
        seen[key] = record.folder
    return records, left_out


def compare(records: list[Record], baseline: str = "") -> list[Comparison]:
    """The runs by what may be compared: one protocol, one evaluation epsilon, one length.

    ``baseline`` is the name of a run's folder; by default the variant with the fewest settings.
    Raises UsageError where there is no such run.
    """
    if baseline and baseline not in {record.folder.name for record in records}:
        raise UsageError(f"No run is called {baseline}; --baseline names the folder of one.")
    groups: dict[tuple[str, float, int, int], list[Record]] = {}
    for record in records:
        scores = record.scores
        key = (scores["protocol"], scores["epsilon"], record.steps, record.frames)
        groups.setdefault(key, []).append(record)
    worlds = _world_names(records)
    return [
        Comparison(
            *key,
            sorted(group, key=lambda r: (worlds[r.folder], r.seed)),
            worlds,
            _labels(group, baseline),
        )
        for key, group in groups.items()
    ]


def on_grid(records: Iterable[Record], grid: Array) -> Float[NDArray[np.float64], "runs points"]:
    """Learning curves at these agent steps; nan before a run's first episode."""
    curves = []
    for record in records:
        steps, means = record.curve
        at = np.searchsorted(steps, grid, side="right") - 1
        known = np.concatenate([means, [np.nan]])  # the last serves what comes before the first
        curves.append(known[at])
    return np.stack(curves)


def summary(found: Comparison) -> dict[str, Any]:
    """A comparison's raw scores as they are committed: what a table of verdicts is made from."""
    return {
        "protocol": found.protocol,
        "steps": found.steps,
        "frames": found.frames,
        "variants": list(found.labels.values()),
        "runs": [
            {
                "world": found.worlds[run.folder],
                "variant": found.labels[run.variant],
                "seed": run.seed,
                "scores": run.scores["scores"],
                "lengths": run.scores["lengths"],
                "commit": run.provenance.get("commit"),
            }
            for run in found.records
        ],
    }


def raw_csv(comparisons: list[Comparison]) -> str:
    """Every evaluation episode of every run, a row each."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    names = ("world", "variant", "protocol", "epsilon", "agent_steps", "frames", "seed", "episode")
    write([*names, "score", "length"])
    for found in comparisons:
        for record in found.records:
            for scores in (record.scores, *record.others):
                about: list[Any] = [found.worlds[record.folder], found.labels[record.variant]]
                about += [scores["protocol"], scores["epsilon"], record.steps, record.frames]
                for number, pair in enumerate(
                    zip(scores["scores"], scores["lengths"], strict=True)
                ):
                    write([*map(_inert, map(str, about)), record.seed, number, *pair])
    return text.getvalue()


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A config's leaves by dotted path; a part stands as ``role`` with its name in the table."""
    if not isinstance(config, dict):
        return {prefix.rstrip("."): config}
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "class":
            flat[prefix.rstrip(".")] = part_name(str(value))
        else:
            flat |= flatten(value, f"{prefix}{name}.")
    return flat


def part_name(path: str) -> str:
    """A part's name in its role's table, or that of its class."""
    for table in TABLES.values():
        for name, kind in table.items():
            if isinstance(kind, type) and path == f"{kind.__module__}:{kind.__qualname__}":
                return name
    return path.partition(":")[2].removesuffix("Config") or path


def _record(folder: Path) -> Record:
    run = Run(folder)
    config, scores = _json(folder / "config.json"), _json(folder / "scores.json")
    if not isinstance(config.get("env"), dict) or not isinstance(config.get("seed"), int):
        raise UsageError(f"{folder / 'config.json'} is no config of a training run.")
    _check(folder / "scores.json", scores)
    others = {path: _json(path) for path in sorted(folder.glob("scores-*.json"))}
    for path, each in others.items():
        _check(path, each)
    rows = run.read_lines("metrics.jsonl")
    steps = int(scores.get("steps", config.get("steps", 0)))
    skip = rows[-1]["frames"] / rows[-1]["step"] if rows else 1
    provenance = folder / "provenance.json"
    return Record(
        folder=folder,
        config=config,
        scores=scores,
        others=list(others.values()),
        episodes=[row for row in run.read_lines("episodes.jsonl") if row["step"] <= steps],
        steps=steps,
        frames=round(steps * skip),
        provenance=_json(provenance) if provenance.exists() else {},
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no object.")
    return data


def _check(path: Path, scores: dict[str, Any]) -> None:
    wanted = ("world", "protocol", "epsilon", "mean", "scores", "lengths")
    missing = [name for name in wanted if name not in scores]
    if missing or not scores["scores"]:
        what = f"has no {missing[0]}" if missing else "holds no episode"
        raise UsageError(f"{path} {what}; `reverie evaluate {path.parent}` makes it anew.")
    for value in (scores["mean"], *scores["scores"]):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(
                f"{path} has the score {value}, which is no number; "
                f"`reverie evaluate {path.parent}` makes it anew."
            )


def _world_names(records: list[Record]) -> dict[Path, str]:
    """Titles of the runs' worlds; worlds of one title are told apart by what differs."""
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    for record in records:
        world = {k: v for k, v in record.config["env"].items() if k != "protocol"}
        text = json.dumps(world, sort_keys=True)
        kinds.setdefault(record.scores["world"], {})[text] = flatten(world)
    names = {}
    for record in records:
        world = {k: v for k, v in record.config["env"].items() if k != "protocol"}
        title, mine = record.scores["world"], flatten(world)
        all_kinds = kinds[title].values()
        differ = [name for name in mine if len({str(kind.get(name)) for kind in all_kinds}) > 1]
        said = ", ".join(f"{name} {mine[name]}" for name in differ)
        names[record.folder] = f"{title} ({said})" if differ else title
    return names


def _labels(records: list[Record], baseline: str) -> dict[str, str]:
    """A name for each variant by what sets it apart, the baseline first."""
    flats = {
        record.variant: {
            path: value
            for path, value in flatten(record.config).items()
            if path and path.partition(".")[0] not in APART
        }
        for record in records
    }
    chosen = [record.variant for record in records if record.folder.name == baseline]
    first = chosen[0] if chosen else min(flats, key=lambda variant: len(flats[variant]))
    labels = {}
    for variant in [first, *(name for name in flats if name != first)]:
        mine = flats[variant]
        parts = [
            f"{path} {value}"
            for path, value in mine.items()
            if len({str(other[path]) for other in flats.values() if _kin(path, mine, other)}) > 1
        ]
        labels[variant] = ", ".join(parts) or str(mine.get("agent", "the only variant"))
    return labels


def _kin(path: str, mine: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the other variant has this setting of the same part."""
    outer = [path[:i] for i, letter in enumerate(path) if letter == "."]
    return path in other and all(mine.get(role) == other.get(role) for role in outer)


def _human(scores: Mapping[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    known = {key: human_normalised(key[0], score) for key, score in scores.items()}
    return {key: share for key, share in known.items() if share is not None}


def _inert(text: str) -> str:
    """No text that a spreadsheet would take for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
