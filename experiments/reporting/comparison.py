"""Comparison of runs: which can be compared, and whether a variant beats the baseline."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...envs.atari.games import human_normalized
from ...envs.errors import UsageError
from .intervals import (
    Interval,
    Key,
    bootstrap,
    by_env,
    mean_difference,
    normalized,
    paired_differences,
    probability_of_improvement,
)
from .run_results import RunResult
from .variants import Variant, env_names, make_variants


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
    """Number of paired runs, from which both are computed."""

    @property
    def label(self) -> str:
        """helps, hurts or inconclusive: the side of 0 on which the whole interval lies.

        It is "cannot tell" without an interval.
        """
        if self.difference.missing:
            return "cannot tell"
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
    variants: list[Variant]
    """The baseline first; the results of each are sorted by env and seed."""

    @property
    def title(self) -> str:
        frames = f" ({self.frames:,} frames)" if self.frames != self.steps else ""
        return f"protocol {self.protocol}, {self.steps:,} agent steps{frames}"

    @property
    def labels(self) -> list[str]:
        return [variant.label for variant in self.variants]

    @property
    def env_names(self) -> list[str]:
        return sorted({result.env_name for _, result in self.results})

    @property
    def results(self) -> list[tuple[str, RunResult]]:
        """The label of the variant and the result of each run."""
        return [(variant.label, x) for variant in self.variants for x in variant.results]

    @property
    def has_human_scores(self) -> bool:
        """Whether the scores of every env can be human-normalized."""
        games = [self.games.get(env_name, "") for env_name in self.env_names]
        return all(human_normalized(game, 0.0) is not None for game in games)

    @property
    def games(self) -> dict[str, str]:
        """The Atari game of each env that is one."""
        return {x.env_name: x.scores.game for _, x in self.results if x.scores.game}

    def rows(self) -> Iterator[tuple[str, str, list[RunResult]]]:
        """Yield env name, label and results of each variant that has results in an env."""
        for env_name in self.env_names:
            for variant in self.variants:
                if results := [x for x in variant.results if x.env_name == env_name]:
                    yield env_name, variant.label, results

    def verdicts(self) -> list[Verdict]:
        """Compare the final scores of each variant with those of the baseline."""
        return compare_with_baseline({x.label: x.scores for x in self.variants}, self.games)

    def part_verdicts(self) -> list[Verdict]:
        """Compare each choice of a part with the baseline's choice, over all other parts.

        Runs are paired by env, seed and all other choices. Returns nothing if only one part varies.
        """
        parts = list(dict.fromkeys(part for variant in self.variants for part in variant.choices))
        verdicts: list[Verdict] = []
        for part in parts if len(parts) > 1 else []:
            scores: dict[str, dict[Key, float]] = {}
            for variant in self.variants:  # the baseline's choice is the first
                rest = tuple(text for name, text in variant.choices.items() if name != part)
                scores.setdefault(variant.choices.get(part, ""), {}).update(
                    {(env, (seed, rest)): x for (env, seed), x in variant.scores.items()}
                )
            verdicts += compare_with_baseline(scores, self.games)
        return verdicts

    def to_json(self) -> dict[str, Any]:
        """Return the raw scores in the form in which they are committed."""
        return {
            "protocol": self.protocol,
            "steps": self.steps,
            "frames": self.frames,
            "games": self.games,
            "variants": self.labels,
            "runs": [
                {
                    "env_name": result.env_name,
                    "variant": label,
                    "seed": result.seed,
                    "scores": result.scores.scores,
                    "lengths": result.scores.lengths,
                    "commit": result.provenance.get("commit"),
                }
                for label, result in self.results
            ],
        }


def compare_with_baseline(
    scores: Mapping[str, Mapping[Key, float]], games: Mapping[str, str]
) -> list[Verdict]:
    """Compare each variant with the first one, from scores by env and seed.

    ``games`` names the Atari game of each env that is one. Runs without a partner of the same env
    and seed do not count. There is a verdict for each env in raw points, and one for all envs
    together if there are several and all can be human-normalized.
    """
    baseline, *variants = scores
    verdicts = []
    for variant in variants:
        sides = [
            {key: x for key, x in scores[a].items() if key in scores[b]}
            for a, b in ((variant, baseline), (baseline, variant))
        ]
        points = paired_differences(*sides)
        rows = [(env_name, "points", {env_name: each}) for env_name, each in points.items()]
        shares = paired_differences(*(normalized(side, games) for side in sides))
        if len(points) > 1 and shares.keys() == points.keys():
            rows.insert(0, ("all envs", "human-normalized", shares))
        for env_name, unit, differences in rows:
            strata = [[by_env(side)[name] for name in differences] for side in sides]
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
    for result, name in zip(results, env_names(results), strict=True):
        scores = replace(result.scores, protocol=result.scoring_rules)
        key = (scores.conditions, scores.epsilon, scores.steps, result.frames)
        groups.setdefault(key, []).append(replace(result, env_name=name))
    comparisons = []
    for (rules, epsilon, steps, frames), group in groups.items():
        labels = {result.scores.conditions for result in group}
        variants = make_variants(sorted(group, key=lambda x: (x.env_name, x.seed)), baseline)
        protocol = labels.pop() if len(labels) == 1 else rules
        comparisons.append(Comparison(protocol, epsilon, steps, frames, variants))
    return comparisons


def raw_csv(comparisons: list[Comparison]) -> str:
    """Return a CSV file with a row for each evaluation episode of each run."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    header = "env_name,variant,protocol,epsilon,agent_steps,frames,seed,episode,score,length"
    write(header.split(","))
    for comparison in comparisons:
        for label, result in comparison.results:
            for scores in (result.scores, *result.other_scores):
                names = [_escape_formula(x) for x in (result.env_name, label, scores.conditions)]
                about = [*names, scores.epsilon, scores.steps]
                episodes = zip(scores.scores, scores.lengths, strict=True)
                for number, episode in enumerate(episodes):
                    write([*about, result.frames, result.seed, number, *episode])
    return text.getvalue()


def _escape_formula(text: str) -> str:
    """Quote a text that a spreadsheet would evaluate as a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
