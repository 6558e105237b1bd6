"""Comparison of runs: which can be compared, and whether a variant beats the baseline."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.atari.games import human_normalized
from ...envs.errors import UsageError
from ..runs.scores import conditions
from .intervals import (
    Array,
    Interval,
    bootstrap,
    mean_difference,
    paired_differences,
    probability_of_improvement,
)
from .run_results import RunResult
from .variants import Choices, env_names, flatten, variant_choices

Key = tuple[str, Any]
"""The env name and the seed of a run, or the seed with other values that runs are paired by."""


@dataclass(frozen=True)
class Verdict:
    """A variant against the baseline, over runs paired by env and seed."""

    variant: str
    env_name: str
    """The name of an env, or "all envs"."""
    unit: str
    difference: Interval
    improvement: Interval
    """Probability that a run of the variant beats one of the baseline, by bootstrap."""
    pairs: int

    @property
    def label(self) -> str:
        """helps, hurts or inconclusive: the side of 0 on which the whole interval lies."""
        return {1: "helps", -1: "hurts", 0: "inconclusive"}[self.difference.sign]


@dataclass(frozen=True)
class Comparison:
    """Runs under the same scoring rules and of one length, whose scores can be compared."""

    protocol: str
    """Label of the protocol (of its scoring rules if presentations differ), and whether agents
    acted as in training."""
    epsilon: float
    steps: int
    """Agent steps of each run."""
    frames: int
    results: list[RunResult]
    env_name_of: dict[Path, str]
    """The env name of each run folder."""
    choices: dict[str, Choices]
    """The settings of each variant that differ between variants, the baseline first."""

    @property
    def title(self) -> str:
        frames = f" ({self.frames:,} frames)" if self.frames != self.steps else ""
        return f"protocol {self.protocol}, {self.steps:,} agent steps{frames}"

    @property
    def env_names(self) -> list[str]:
        return list(dict.fromkeys(self.env_name_of[result.folder] for result in self.results))

    @property
    def labels(self) -> dict[str, str]:
        """The name of each variant, the baseline first."""
        return {
            variant: ", ".join(chosen.values()) or self._agent_name(variant)
            for variant, chosen in self.choices.items()
        }

    @property
    def baseline(self) -> str:
        return next(iter(self.choices))

    @property
    def has_human_scores(self) -> bool:
        """Whether the scores of every env can be human-normalized."""
        return all(human_normalized(env_name, 0.0) is not None for env_name in self.env_names)

    def results_of(self, variant: str, env_name: str | None = None) -> list[RunResult]:
        """Return a variant's results, sorted by env and seed."""
        return [
            result
            for result in self.results
            if result.variant == variant and env_name in (None, self.env_name_of[result.folder])
        ]

    def scores_of(self, variant: str) -> dict[str, Array]:
        """Return the final scores of a variant's runs by env."""
        scores: dict[str, list[float]] = {}
        for result in self.results_of(variant):
            scores.setdefault(self.env_name_of[result.folder], []).append(result.score)
        return {env_name: np.array(values) for env_name, values in scores.items()}

    def verdicts(self) -> list[Verdict]:
        """Compare the final scores of each variant with those of the baseline."""
        scores = {label: self._scores_by_key(variant) for variant, label in self.labels.items()}
        return compare_with_baseline(scores)

    def part_verdicts(self) -> list[Verdict]:
        """Compare each choice of a part with the baseline's choice, over all other parts.

        Runs are paired by env, seed and all other choices. Returns nothing if only one part varies.
        """
        baseline = self.choices[self.baseline]
        parts = list(dict.fromkeys(part for each in self.choices.values() for part in each))
        verdicts: list[Verdict] = []
        for part in parts if len(parts) > 1 else []:
            scores: dict[str, dict[Key, float]] = {baseline.get(part, ""): {}}
            for variant, chosen in self.choices.items():
                rest = tuple(text for name, text in chosen.items() if name != part)
                by_key = scores.setdefault(chosen.get(part, ""), {})
                by_key |= {
                    (env_name, (seed, rest)): score
                    for (env_name, seed), score in self._scores_by_key(variant).items()
                }
            verdicts += compare_with_baseline(scores)
        return verdicts

    def _scores_by_key(self, variant: str) -> dict[Key, float]:
        return {
            (self.env_name_of[result.folder], result.seed): result.score
            for result in self.results_of(variant)
        }

    def _agent_name(self, variant: str) -> str:
        return str(flatten(self.results_of(variant)[0].config).get("agent", "the only variant"))


def compare_with_baseline(scores: Mapping[str, Mapping[Key, float]]) -> list[Verdict]:
    """Compare each variant with the first one, from scores by env and seed.

    There is a verdict for each env in raw points, and one for all envs together if there are
    several and all can be human-normalized.
    """
    baseline, *variants = scores
    verdicts = []
    for variant in variants:
        sides = (scores[variant], scores[baseline])
        points = paired_differences(*sides)
        rows = [(env_name, "points", {env_name: each}) for env_name, each in points.items()]
        if len(points) > 1 and all(human_normalized(name, 0.0) is not None for name in points):
            normalized = paired_differences(*map(_human_normalized, sides))
            rows.insert(0, ("all envs", "human-normalized", normalized))
        for env_name, unit, differences in rows:
            strata = [
                [
                    np.array([score for (name, _), score in side.items() if name == each])
                    for each in differences
                ]
                for side in sides
            ]
            verdicts.append(
                Verdict(
                    variant,
                    env_name,
                    unit,
                    mean_difference(list(differences.values())),
                    bootstrap(probability_of_improvement, *strata),
                    sum(map(len, differences.values())),
                )
            )
    return verdicts


def compare(results: list[RunResult], baseline: str = "") -> list[Comparison]:
    """Group runs that can be compared: by scoring rules, way of acting and length.

    Protocols that differ only in what agents are shown make variants. ``baseline`` is the name of a
    run folder; by default the variant with the fewest settings is the baseline. Raises UsageError
    if there is no run of that name.
    """
    if baseline and baseline not in {result.folder.name for result in results}:
        raise UsageError(
            f"There is no run '{baseline}'; --baseline takes the name of a run folder."
        )
    groups: dict[tuple[str, float, int, int], list[RunResult]] = {}
    for result in results:
        scores = result.scores
        rules = conditions(scores | {"protocol": result.scoring_rules})
        key = (rules, scores["epsilon"], result.steps, result.frames)
        groups.setdefault(key, []).append(result)
    names = env_names(results)
    return [
        Comparison(
            _common_label(group) or key[0],
            *key[1:],
            sorted(group, key=lambda result: (names[result.folder], result.seed)),
            names,
            variant_choices(group, baseline),
        )
        for key, group in groups.items()
    ]


def _common_label(group: list[RunResult]) -> str:
    """The label of the protocol that all runs share; an empty string if they differ."""
    labels = {conditions(result.scores) for result in group}
    return labels.pop() if len(labels) == 1 else ""


def summary(comparison: Comparison) -> dict[str, Any]:
    """Return the raw scores of a comparison in the form in which they are committed."""
    return {
        "protocol": comparison.protocol,
        "steps": comparison.steps,
        "frames": comparison.frames,
        "variants": list(comparison.labels.values()),
        "runs": [
            {
                "env_name": comparison.env_name_of[result.folder],
                "variant": comparison.labels[result.variant],
                "seed": result.seed,
                "scores": result.scores["scores"],
                "lengths": result.scores["lengths"],
                "commit": result.provenance.get("commit"),
            }
            for result in comparison.results
        ],
    }


def raw_csv(comparisons: list[Comparison]) -> str:
    """Return a CSV file with a row for each evaluation episode of each run."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    header = "env_name,variant,protocol,epsilon,agent_steps,frames,seed,episode,score,length"
    write(header.split(","))
    for comparison in comparisons:
        for result in comparison.results:
            for scores in (result.scores, *result.other_scores):
                labels: list[Any] = [
                    comparison.env_name_of[result.folder],
                    comparison.labels[result.variant],
                    conditions(scores),
                    scores["epsilon"],
                    result.steps,
                    result.frames,
                ]
                episodes = zip(scores["scores"], scores["lengths"], strict=True)
                for number, episode in enumerate(episodes):
                    write([*map(_escape_formula, map(str, labels)), result.seed, number, *episode])
    return text.getvalue()


def _human_normalized(scores: Mapping[Key, float]) -> dict[Key, float]:
    normalized = {key: human_normalized(key[0], score) for key, score in scores.items()}
    return {key: score for key, score in normalized.items() if score is not None}


def _escape_formula(text: str) -> str:
    """Quote a text that a spreadsheet would evaluate as a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
