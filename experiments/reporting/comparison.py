"""Comparison of runs: which can be compared, and by which scores."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...envs.atari.games import human_normalized
from ...envs.errors import UsageError
from ..verdicts.intervals import Key
from ..verdicts.reference_share import ReferenceShare, reference_shares
from ..verdicts.verdict import Sides, Verdict, decide, decide_table
from ..verdicts.verdict_rule import Score, VerdictRule
from .run_results import RunResult
from .variants import Variant, env_names, make_variants

TRAINING_SCORES: tuple[Score, ...] = ("training-end", "training-mean")


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
    rule: VerdictRule

    @property
    def title(self) -> str:
        frames = f" ({self.frames:,} frames)" if self.frames != self.steps else ""
        return f"protocol {self.protocol}, {self.steps:,} agent steps{frames}"

    @property
    def slug(self) -> str:
        """The part of a file name that tells it from those of other comparisons."""
        return re.sub(r"\W", "-", f"{self.protocol}-{self.steps}")

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

    @property
    def scores(self) -> dict[str, dict[Key, float]]:
        """The score of each run, by variant."""
        return {variant.label: variant.scores(self.rule.score) for variant in self.variants}

    def verdicts(self) -> list[Verdict]:
        """Compare the scores of each variant with those of the baseline."""
        return decide(self.scores, self.rule, self.games)

    def part_verdicts(self) -> list[Verdict]:
        """Compare each choice of a part with the baseline's choice, over all other parts.

        The scores of a seed are means over the other parts' choices for which both have a run.
        Returns nothing if only one part varies.
        """
        parts = list(dict.fromkeys(part for variant in self.variants for part in variant.choices))
        table: list[Sides] = []
        for part in parts if len(parts) > 1 else []:
            scores: dict[str, dict[Key, dict[tuple[str, ...], float]]] = {}
            for variant in self.variants:  # the baseline's choice is the first
                rest = tuple(text for name, text in variant.choices.items() if name != part)
                runs = scores.setdefault(variant.choices.get(part, ""), {})
                for key, score in self.scores[variant.label].items():
                    runs.setdefault(key, {})[rest] = score
            baseline, *choices = scores
            for choice in choices:
                ours, theirs = (
                    {
                        key: float(np.mean([runs[x] for x in sorted(shared)]))
                        for key, runs in scores[name].items()
                        if (shared := runs.keys() & scores[other].get(key, {}).keys())
                    }
                    for name, other in ((choice, baseline), (baseline, choice))
                )
                table.append((choice, ours, theirs))
        return decide_table(table, self.rule, self.games)

    def shares(self) -> list[ReferenceShare]:
        """Return the share of each reference's gain that each model of its role captures."""
        return reference_shares(
            self.scores,
            {variant.label: variant.choices for variant in self.variants},
            {variant.label: variant.references for variant in self.variants},
            self.verdicts(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the raw scores in the form in which they are committed."""
        return {
            "protocol": self.protocol,
            "steps": self.steps,
            "frames": self.frames,
            "games": self.games,
            "rule": self.rule.to_json(),
            "variants": self.labels,
            "choices": [variant.choices for variant in self.variants],
            "references": [variant.references for variant in self.variants],
            "runs": [
                {
                    "env_name": result.env_name,
                    "variant": label,
                    "seed": result.seed,
                    "scores": result.scores.scores,
                    "lengths": result.scores.lengths,
                    "training": {kind: result.score(kind) for kind in TRAINING_SCORES},
                    "commit": result.provenance.get("commit"),
                    "under": {x.conditions: x.scores for x in result.other_scores},
                }
                for label, result in self.results
            ],
        }


def compare(
    results: list[RunResult], baseline: str = "", rule: VerdictRule | None = None
) -> list[Comparison]:
    """Group runs that can be compared: by scoring rules, way of acting and length.

    Protocols that differ only in what agents are shown make variants. ``baseline`` is the name of a
    run folder; by default the variant with the fewest settings is the baseline. Raises UsageError
    if there is no run of that name.
    """
    if baseline and baseline not in {result.folder.name for result in results}:
        raise UsageError(
            f"There is no run '{baseline}'; --baseline takes the name of a run folder."
        )
    rule = rule or VerdictRule()
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
        comparisons.append(Comparison(protocol, epsilon, steps, frames, variants, rule))
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
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
