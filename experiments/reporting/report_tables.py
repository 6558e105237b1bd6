"""Tables of a report: aggregates, scores by seed, and published scores."""

import numpy as np

from ...envs.atari.games import HUMAN_RANDOM_TABLE, human_normalized
from ..config.roles import part_name
from ..text.formatting import format_number
from ..text.terminal_text import counted
from ..verdicts.intervals import (
    AGGREGATES,
    CONFIDENCE,
    MIN_RUNS,
    bootstrap,
    by_env,
    format_interval,
    format_mean,
    normalized,
)
from .atari_subsets import SUBSETS, fit_subset
from .comparison import Comparison
from .constant_actions import format_constant_action
from .document import Block, Heading, Table
from .published import published
from .run_list import CUT_OFF
from .run_results import WINDOW


def aggregate_tables(comparison: Comparison) -> list[Block]:
    """Return the table of human-normalized aggregates; nothing if an env has no human score."""
    if not comparison.has_human_scores:
        return []
    rows = []
    for variant in comparison.variants:
        strata = list(
            by_env(normalized(comparison.scores[variant.label], comparison.games)).values()
        )
        cells = [format_interval(bootstrap(statistic, strata)) for statistic in AGGREGATES.values()]
        sizes = counted(len(strata), "env"), counted(sum(map(len, strata)), "run")
        rows.append([variant.label, *cells, ", ".join(sizes)])
    caption = (
        f"The score {comparison.rule.score}, human-normalized by the table of "
        f"{HUMAN_RANDOM_TABLE}: 0 is random play, 1 a human. "
        f"{CONFIDENCE:.0%} intervals from a bootstrap over runs within each env "
        "(Agarwal et al. 2021); with fewer than five seeds they are too narrow, and with fewer "
        f"than {MIN_RUNS} there is none."
    )
    return [Table(["variant", *AGGREGATES, "from"], rows, caption)]


def subset_table(comparison: Comparison) -> list[Block]:
    """Return estimates of the median of 57 games, for variants with all games of a subset."""
    rows = []
    for label, scores in comparison.scores.items():
        strata = by_env(normalized(scores, comparison.games))
        by_game = {comparison.games[env_name]: x for env_name, x in strata.items()}
        for name, games in SUBSETS.items():
            if by_game.keys() >= {*games}:
                subset = fit_subset(name)
                median = bootstrap(subset.median, [by_game[game] for game in games])
                rows.append([label, name, format_interval(median), f"{subset.error:.0%}"])
    caption = (
        "Estimated median of the human-normalized scores of 57 games, from five or three of them "
        "(Aitchison et al. 2022), by weights that are fitted to published scores of 44 algorithms; "
        "the error is that of an algorithm which is left out of the fit. The interval is of the "
        "runs alone."
    )
    header = ["variant", "subset", "estimated median of 57 games", "mean relative error"]
    return [Table(header, rows, caption)] * bool(rows)


def score_table(comparison: Comparison) -> Table:
    """Return the table of final and training scores, a row for each variant in each env."""
    human = comparison.has_human_scores
    header = ["env", "variant", "protocol", "agent steps (frames)"]
    header += ["final score of each seed", "mean over seeds", *["human-normalized"] * human]
    header += [f"last {WINDOW} of training, mean over seeds"]
    header += ["best constant action"] * bool(comparison.games)
    rows, episodes, with_bonus, cut_off = [], set(), False, False
    for env_name, label, results in comparison.rows():
        episodes |= {result.scores.episodes for result in results}
        with_bonus |= any(part_name(x.config["bonus"]) != "none" for x in results)
        means = [result.scores.mean for result in results]
        capped = [result.scores.num_capped > 0 for result in results]
        cut_off |= any(capped)
        game = comparison.games.get(env_name, "")
        constant = format_constant_action(game, results[0].scores.protocol)
        share = human_normalized(game, float(np.mean(means)))
        last = [result.score("training-end") for result in results]
        rows.append(
            [
                env_name,
                label,
                f"{results[0].scores.conditions}, epsilon {comparison.epsilon:g}",
                f"{comparison.steps:,} ({comparison.frames:,})",
                ", ".join(
                    format_number(x) + CUT_OFF * cut for x, cut in zip(means, capped, strict=True)
                ),
                format_mean(means),
                *([] if share is None or not human else [f"{share:.3f}"]),
                "" if np.isnan(last).any() else format_mean(last),
                *[constant] * bool(comparison.games),
            ]
        )
    caption = (
        f"Raw points. A final score is the mean of {' or '.join(map(str, sorted(episodes)))}"
        f"{'' if cut_off else ' whole'} episodes that the final checkpoint plays in separate envs"
        f"{f' ({CUT_OFF}: some were cut off after --max-steps)' * cut_off}; ± is the standard "
        f"error over seeds, given for {MIN_RUNS} seeds or more. Training scores are listed "
        f"separately: the mean of the last {WINDOW} episodes, or of all if there are fewer."
    )
    if with_bonus:
        caption += (
            " An agent with a bonus is evaluated frozen, by action values that contain its bonus "
            "of that moment; its training score is the more reliable one."
        )
    return Table(header, rows, caption)


def other_protocol_tables(comparison: Comparison) -> list[Block]:
    """Return the table of scores under other protocols; nothing if no run has any."""
    other_scores = [scores for _, result in comparison.results for scores in result.other_scores]
    protocols = list(dict.fromkeys(scores.conditions for scores in other_scores))
    if not protocols:
        return []
    rows = []
    for env_name, label, results in comparison.rows():
        others = [scores for result in results for scores in result.other_scores]
        columns = [
            [result.scores.mean for result in results],
            *([x.mean for x in others if x.conditions == protocol] for protocol in protocols),
        ]
        rows.append([env_name, label, *(format_mean(x) if x else "" for x in columns)])
    caption = "The same final checkpoints under each protocol: mean ± standard error over seeds."
    return [Table(["env", "variant", comparison.protocol, *protocols], rows, caption)]


def published_tables(comparisons: list[Comparison]) -> list[Block]:
    """Return the published scores in the games of these runs, with a heading."""
    rows = [
        [row.game, row.method, format_number(row.score), row.frames, row.protocol, row.source]
        for row in published({game for each in comparisons for game in each.games.values()})
    ]
    if not rows:
        return []
    header = ["game", "method", "score", "frames", "protocol", "source"]
    caption = "Protocols, lengths and evaluations differ from those of the runs above."
    return [Heading("Published scores"), Table(header, rows, caption)]
