"""The committed grids: their rules, scores and verdicts, and the table of them."""

import math
import statistics
from typing import Any

import numpy as np

from ..reporting.committed import committed
from ..reporting.forest_plot import share_text
from ..runs.scores import suite_of_label
from ..text.formatting import format_number
from ..verdicts.intervals import Key, format_count, format_interval
from ..verdicts.paired_test import paired_means
from ..verdicts.reference_share import ReferenceShare, reference_shares
from ..verdicts.verdict import Verdict, decide
from ..verdicts.verdict_rule import VerdictRule
from .markdown import Footnotes, markdown_table
from .reruns import RERUNS


def ablations_table() -> str:
    """Return the verdicts of each committed grid, computed from its raw scores."""
    rows, commands, footnotes = [], [], Footnotes()
    for data in committed("ablations/*.json"):
        grid = f"{data['name']}, {format_count(data['steps'])} agent steps"
        rows += [
            [
                footnotes.marked(grid, RERUNS.get(data["name"], ())),
                verdict.variant,
                verdict.env_name,
                "not finished" if unfinished(verdict, data) else verdict.text,
                f"{format_interval(verdict.difference, verdict.unit)} {verdict.unit}",
                str(verdict.pairs),
                verdict.reason or share_text(verdict, grid_shares(data)),
            ]
            for verdict in grid_verdicts(data)
        ]
        commands.append(f"{data['name']}: `{data['command']}`")
    return markdown_table(
        "grid | variant | env | verdict | difference (interval) | pairs of runs "
        "| what the runs can tell",
        rows,
        "Against each grid's first variant, by scores paired by env and seed, under the rule that "
        "the grid fixed before its first run, or else by the final evaluations of all seeds. A "
        "variant helps or hurts if the interval of the mean difference is on one side of 0, and "
        "makes no difference larger than delta if that of the ratio of the means is within it; "
        "false discoveries are controlled for each grid: see "
        "[Verdicts](concepts/verdicts.md).",
        footnotes.lines,
        *commands,
    )


def other_protocols_table() -> str:
    """Return what other protocols change in the scores of the same checkpoints of a grid."""
    rows = []
    for data in committed("ablations/*.json"):
        for protocol in dict.fromkeys(x for run in data["runs"] for x in run.get("under", ())):
            runs = [run for run in data["runs"] if protocol in run["under"]]
            for variant in [*data["variants"], ""]:
                chosen = [run for run in runs if variant in ("", run["variant"])]
                own, other = (
                    np.array([statistics.fmean(scores) for scores in each])
                    for each in zip(
                        *((run["scores"], run["under"][protocol]) for run in chosen), strict=True
                    )
                )
                difference = paired_means([(other, own)]).interval(0.025)
                rows.append(
                    [
                        data["name"],
                        variant or "all",
                        data["protocol"],
                        protocol,
                        *(format_number(x.mean()) for x in (own, other)),
                        format_interval(difference, "points"),
                        str(len(chosen)),
                    ]
                )
    return markdown_table(
        "grid | variant | protocol | other protocol | score | score under the other "
        "| difference (95% interval) | agents",
        rows,
        "The same final checkpoints, with equal seeds of the env; the interval is of t, paired by "
        "agent.",
    )


def grid_rule(data: dict[str, Any]) -> VerdictRule:
    """Return the rule of a committed grid."""
    return VerdictRule.from_json(data["rule"]) if "rule" in data else VerdictRule()


def grid_scores(data: dict[str, Any]) -> dict[str, dict[Key, float]]:
    """Return the scores of a committed grid that its rule compares, by variant, env and seed."""
    kind = grid_rule(data).score
    scores: dict[str, dict[Key, float]] = {label: {} for label in data["variants"]}
    for run in data["runs"]:
        evaluated = statistics.fmean(run["scores"])
        score = evaluated if kind == "evaluation" else run["training"][kind]
        # JSON has null for nan, the training score of a run in which no episode has ended.
        score = math.nan if score is None else score
        scores[run["variant"]][run["env_name"], run["seed"]] = score
    return scores


def grid_verdicts(data: dict[str, Any]) -> list[Verdict]:
    """Compare the variants of a committed grid with the first, from its raw scores."""
    return decide(grid_scores(data), grid_rule(data), _games(data))


def unfinished(verdict: Verdict, data: dict[str, Any]) -> bool:
    """Return whether a committed grid still lacks runs of the first analysis of a comparison."""
    return verdict.pairs < next(iter(grid_rule(data).analyses), 0)


def grid_shares(data: dict[str, Any]) -> list[ReferenceShare]:
    """Return the shares of references' gains in a committed grid; it may have no reference."""
    choices, references = (
        dict(zip(data["variants"], data.get(name, [{}] * len(data["variants"])), strict=True))
        for name in ("choices", "references")
    )
    return reference_shares(grid_scores(data), choices, references, grid_verdicts(data))


def _games(grid: dict[str, Any]) -> dict[str, str]:
    """Return the Atari game of each env of a grid that is one."""
    if "games" in grid:
        games: dict[str, str] = grid["games"]
        return games
    names = {run["env_name"] for run in grid["runs"]} if suite_of_label(grid["protocol"]) else ()
    return {name: name for name in names}
