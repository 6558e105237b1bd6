"""The verdicts of a report: their tables, what undecided ones need, and shares of references."""

from collections import Counter

from ..text.formatting import format_number
from ..text.terminal_text import counted
from ..verdicts.intervals import CONFIDENCE, format_interval
from ..verdicts.reference_share import ReferenceShare
from ..verdicts.verdict import LABELS, Verdict
from ..verdicts.verdict_rule import VerdictRule
from .comparison import Comparison
from .document import Block, Chip, Paragraph, Table
from .forest_plot import forest_plot


def verdict_blocks(comparison: Comparison) -> list[Block]:
    """Return a sentence that counts the verdicts, their forest plot and their tables."""
    verdicts, rule = comparison.verdicts(), comparison.rule
    baseline, *others = comparison.labels
    if not others:
        return [Paragraph(f"All runs are of one variant, {baseline}: there is nothing to compare.")]
    if not any(verdict.pairs for verdict in verdicts):
        return [
            Paragraph(
                "No two variants have runs with the same env and seed, so none is compared.",
                warning=True,
            )
        ]
    blocks: list[Block] = [Paragraph(_summary(verdicts, rule))]
    if alone := _without_partner(comparison):
        sentence = f"These runs have no partner and count in no verdict: {', '.join(alone)}."
        blocks.append(Paragraph(sentence, warning=True))
    parts, shares = comparison.part_verdicts(), comparison.shares()
    blocks.append(forest_plot(comparison, verdicts, shares))
    if parts:
        caption = (
            "Each part against the baseline's choice of it. The score of a seed is the mean over "
            "the choices of all other parts for which both have a run."
        )
        blocks.append(_verdict_table("part", parts, caption))
    blocks.append(_verdict_table("variant", verdicts, _caption(baseline, rule)))
    blocks += _open_table([*parts, *verdicts])
    return blocks + _share_table(shares)


def _summary(verdicts: list[Verdict], rule: VerdictRule) -> str:
    counts = Counter(verdict.label for verdict in verdicts)
    one, several = (
        dict(zip(LABELS, phrases, strict=True))
        for phrases in (
            ("helps", "hurts", f"makes no difference larger than {rule.delta}", "cannot be told"),
            ("help", "hurt", f"make no difference larger than {rule.delta}", "cannot be told"),
        )
    )
    summary = ", ".join(
        f"{counts[label]} {(one if counts[label] == 1 else several)[label]}"
        for label in LABELS
        if counts[label]
    )
    return f"Of {counted(len(verdicts), 'comparison')}, {summary}. The rule: {rule}."


def _caption(baseline: str, rule: VerdictRule) -> str:
    of_mean = " as a share of the baseline's mean (Fieller 1954)" * rule.delta.relative
    return (
        f"Against {baseline}, by the score {rule.score} of n pairs of runs with the same env and "
        "seed. A variant helps or hurts if the interval of the mean difference is on one side of "
        "0 (paired t test; a sign test if all differences are equal). It makes no difference "
        f"larger than {rule.delta} if the interval of the difference{of_mean} lies within "
        f"±{rule.delta} (two one-sided tests). Among the differences that are told, and among the "
        f"equivalences, at most {rule.alpha:.0%} are expected to be false "
        "(Benjamini & Hochberg 1995), whenever the seeds were analyzed; the level of each interval "
        "is that of its verdict (Benjamini & Yekutieli 2005). The probability of improvement has "
        f"an uncorrected {CONFIDENCE:.0%} interval."
    )


def _verdict_table(column: str, verdicts: list[Verdict], caption: str) -> Table:
    header = [column, "env", "verdict", "difference (interval)", "unit", "compared with delta", "n"]
    rows = [
        [
            verdict.variant,
            verdict.env_name,
            Chip(verdict.text),
            format_interval(verdict.difference, verdict.unit),
            verdict.unit,
            format_equivalence(verdict),
            str(verdict.pairs),
            format_interval(verdict.improvement),
        ]
        for verdict in verdicts
    ]
    return Table([*header, "probability of improvement"], rows, caption)


def format_equivalence(verdict: Verdict) -> str:
    """Return the bounds that are compared with delta; an empty string for none."""
    bounds = verdict.equivalence
    if bounds.missing:
        return ""
    if verdict.delta.relative:
        return f"{bounds.low:+.0%} to {bounds.high:+.0%}"
    return f"{format_number(bounds.low)} to {format_number(bounds.high)}"


def _open_table(verdicts: list[Verdict]) -> list[Block]:
    """Return what the undecided comparisons could have told, and what they need."""
    rows = [[x.variant, x.env_name, x.reason] for x in verdicts if not x.decided]
    caption = (
        "Comparisons of which nothing can be told: the smallest difference that these runs would "
        "have told, and the pairs of runs that would tell a difference as large as the one seen."
    )
    return [Table(["cannot tell", "env", "what these runs can tell"], rows, caption)] * bool(rows)


def _share_table(shares: list[ReferenceShare]) -> list[Block]:
    """Return null, model and reference with the share that the model captures."""
    rows = [
        [
            share.role,
            share.env_name,
            share.model,
            share.reference,
            *map(format_number, share.means),
            format_share(share),
            str(share.pairs),
        ]
        for share in shares
    ]
    header = ["role", "env", "model", "reference", "null's score", "model's", "reference's"]
    caption = (
        "The share of the reference's gain that the model captures, (model - null) / (reference - "
        "null), with Fieller's interval over runs paired by seed; only where the reference helps. "
        "A reference reads the true state, but is no upper limit: true counts do not generalize "
        "to states that were not visited, and distances of RAM bytes mean little, so that a share "
        "can exceed 100%."
    )
    table = Table([*header, "share of the gain (interval)", "n"], rows, caption)
    return [table] * bool(rows)


def format_share(share: ReferenceShare) -> str:
    """Return a share in percent with its interval, or why there is none."""
    x = share.share
    if x.missing:
        return f"none: {x.missing}"
    return f"{x.estimate:.0%} ({x.low:.0%} to {x.high:.0%})"


def _without_partner(comparison: Comparison) -> list[str]:
    """Return the names of the runs whose env and seed the other side of no verdict has."""
    scores = comparison.scores
    baseline, *others = comparison.labels
    of_others = {key for label in others for key in scores[label]}
    partners = [(baseline, of_others), *((label, {*scores[baseline]}) for label in others)]
    return [
        f"{label} in {env_name} with seed {seed}"
        for label, keys in partners
        for env_name, seed in scores[label]
        if (env_name, seed) not in keys
    ]
