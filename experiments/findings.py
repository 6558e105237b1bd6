"""Run folders read as evidence: which runs can be compared, and what the comparison says."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UsageError
from envs.games import human_normalised
from experiments.evaluation import conditions
from experiments.records import Record
from experiments.statistics import (
    Array,
    Interval,
    bootstrap,
    mean_difference,
    paired_differences,
    probability_of_improvement,
)
from experiments.variants import Choices, choices_of, flatten, world_names

Key = tuple[str, Any]
"""A world, and a seed (with whatever else runs are paired by)."""


@dataclass(frozen=True)
class Verdict:
    """Whether a variant helps, against the baseline, over runs paired by world and seed."""

    variant: str
    world: str
    """A world's name, or "all worlds"."""
    unit: str
    difference: Interval
    improvement: Interval
    """Probability that a run of the variant beats one of the baseline, by bootstrap."""
    pairs: int

    @property
    def word(self) -> str:
        return {1: "helps", -1: "hurts", 0: "cannot tell"}[self.difference.sign]


@dataclass(frozen=True)
class Comparison:
    """Runs under the same rules, of one length: their numbers may stand in one table."""

    protocol: str
    """Its name (the rules' alone, where what agents are shown differs), and whether agents explored
    as in training."""
    epsilon: float
    steps: int
    frames: int
    records: list[Record]
    worlds: dict[Path, str]
    """The name of each run's world."""
    choices: dict[str, Choices]
    """What sets each variant apart, the baseline's first."""

    @property
    def title(self) -> str:
        frames = f" ({self.frames:,} frames)" if self.frames != self.steps else ""
        return f"protocol {self.protocol}, {self.steps:,} agent steps{frames}"

    @property
    def world_names(self) -> list[str]:
        return list(dict.fromkeys(self.worlds[record.folder] for record in self.records))

    @property
    def labels(self) -> dict[str, str]:
        """The name of each variant, the baseline's first."""
        return {
            variant: ", ".join(chosen.values()) or self._only_agent(variant)
            for variant, chosen in self.choices.items()
        }

    @property
    def baseline(self) -> str:
        return next(iter(self.choices))

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

    def part_verdicts(self) -> list[Verdict]:
        """Of each choice of a part against the baseline's, whatever the other parts are.

        Runs are paired by world, seed and all other choices; none where but one part was swapped.
        """
        own = self.choices[self.baseline]
        parts = list(dict.fromkeys(part for each in self.choices.values() for part in each))
        found: list[Verdict] = []
        for part in parts if len(parts) > 1 else []:
            sides: dict[str, dict[Key, float]] = {own.get(part, ""): {}}
            for variant, chosen in self.choices.items():
                rest = tuple(text for name, text in chosen.items() if name != part)
                side = sides.setdefault(chosen.get(part, ""), {})
                side |= {(w, (seed, rest)): x for (w, seed), x in self._keyed(variant).items()}
            found += judge(sides)
        return found

    def _keyed(self, variant: str) -> dict[Key, float]:
        return {(self.worlds[r.folder], r.seed): r.score for r in self.of(variant)}

    def _only_agent(self, variant: str) -> str:
        return str(flatten(self.of(variant)[0].config).get("agent", "the only variant"))


def judge(scores: Mapping[str, Mapping[Key, float]]) -> list[Verdict]:
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
                    bootstrap(probability_of_improvement, *strata),
                    sum(map(len, differences.values())),
                )
            )
    return found


def compare(records: list[Record], baseline: str = "") -> list[Comparison]:
    """The runs by what may be compared: the same rules, one way of playing, one length.

    What an agent is shown of a game may differ under the same rules, and makes variants.
    ``baseline`` is the name of a run's folder; by default the variant with the fewest settings.
    Raises UsageError where there is no such run.
    """
    if baseline and baseline not in {record.folder.name for record in records}:
        raise UsageError(f"No run is called {baseline}; --baseline names the folder of one.")
    groups: dict[tuple[str, float, int, int], list[Record]] = {}
    for record in records:
        scores = record.scores
        rules = conditions(scores | {"protocol": record.rules})
        key = (rules, scores["epsilon"], record.steps, record.frames)
        groups.setdefault(key, []).append(record)
    worlds = world_names(records)
    return [
        Comparison(
            _one_label(group) or key[0],
            *key[1:],
            sorted(group, key=lambda r: (worlds[r.folder], r.seed)),
            worlds,
            choices_of(group, baseline),
        )
        for key, group in groups.items()
    ]


def _one_label(group: list[Record]) -> str:
    """The protocol of runs that share it, with what agents are shown; else nothing."""
    labels = {conditions(record.scores) for record in group}
    return labels.pop() if len(labels) == 1 else ""


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
                about += [conditions(scores), scores["epsilon"], record.steps, record.frames]
                for number, pair in enumerate(
                    zip(scores["scores"], scores["lengths"], strict=True)
                ):
                    write([*map(_inert, map(str, about)), record.seed, number, *pair])
    return text.getvalue()


def _human(scores: Mapping[Key, float]) -> dict[Key, float]:
    known = {key: human_normalised(key[0], score) for key, score in scores.items()}
    return {key: share for key, share in known.items() if share is not None}


def _inert(text: str) -> str:
    """No text that a spreadsheet would take for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
