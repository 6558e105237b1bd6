"""The forest plot of verdicts: a row per comparison, with its interval, its word and its share."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from ..verdicts.intervals import format_interval
from ..verdicts.reference_share import ReferenceShare
from ..verdicts.verdict import Verdict
from .comparison import Comparison
from .document import Media
from .figures import svg

CAPTION = (
    "Difference from the baseline's mean with the interval of its verdict; a hollow point has no "
    "interval, a diamond is a privileged reference."
)

LABEL_WIDTH = 44
"""Letters in a line of a row's label."""
TITLE_WIDTH = 66


@dataclass(frozen=True)
class Theme:
    """The colors of a page."""

    text: str
    muted: str
    agents: tuple[str, ...]
    """The baseline's first."""

    def of_verdict(self, verdict: Verdict) -> str:
        """Return the color of a verdict."""
        _, same, hurts, helps = self.agents
        colors = {"helps": helps, "hurts": hurts, "no difference": same}
        return colors.get(verdict.label, self.text)


THEMES = {
    "light": Theme("#1f2328", "#59636e", ("#6e7781", "#0969da", "#bc4c00", "#1a7f37")),
    "dark": Theme("#e6edf3", "#9198a1", ("#9198a1", "#58a6ff", "#f0883e", "#3fb950")),
}


@dataclass(frozen=True)
class ForestRow:
    """A verdict with the text at its left."""

    label: str
    verdict: Verdict
    is_reference: bool = False
    share: str = ""
    """Share of the reference's gain, as text."""


def forest_plot(
    comparison: Comparison, verdicts: Sequence[Verdict], shares: Sequence[ReferenceShare]
) -> Media:
    """Draw the verdicts of a comparison as SVG, a panel per env; a dark page inverts it."""
    references = {variant.label for variant in comparison.variants if variant.references}
    panels: dict[str, list[ForestRow]] = {}
    for x in verdicts:
        row = ForestRow(x.variant, x, x.variant in references, share_text(x, shares))
        panels.setdefault(f"{x.env_name} ({x.unit})", []).append(row)
    figure = draw_forest(panels, THEMES["light"])
    return Media(f"verdicts-{comparison.slug}.svg", svg(figure), CAPTION, wide=True)


def share_text(verdict: Verdict, shares: Sequence[ReferenceShare]) -> str:
    """Return the share of each reference's gain that a verdict's variant captures, as text."""
    found = [
        x.share
        for x in shares
        if (x.model, x.env_name) == (verdict.variant, verdict.env_name) and not x.share.missing
    ]
    return ", ".join(
        f"{x.estimate:.0%} of the reference's gain ({x.low:.0%} to {x.high:.0%})" for x in found
    )


def draw_forest(panels: dict[str, list[ForestRow]], theme: Theme) -> Any:
    """Return a figure with a panel per title."""
    from matplotlib.figure import Figure  # slow to import

    heights = [1.6 + sum(1.3 if row.share else 1.0 for row in rows) for rows in panels.values()]
    figure = Figure(figsize=(9, 0.29 * sum(heights) + 1.1), layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for each, (title, rows) in zip(axes, panels.items(), strict=True):
        _draw_panel(each, title, rows, theme)
    axes[-1].set_xlabel("difference of scores from the baseline's")
    return figure


def _draw_panel(axes: Any, title: str, rows: list[ForestRow], theme: Theme) -> None:
    """Draw a row per verdict: its point and interval, and to the right its word and numbers."""
    for y, row in enumerate(rows):
        verdict, color = row.verdict, theme.of_verdict(row.verdict)
        difference = verdict.difference
        if not difference.missing:
            axes.plot([difference.low, difference.high], [y, y], color=color, lw=1.6)
        face = "none" if difference.missing else color
        axes.plot(difference.estimate, y, "D" if row.is_reference else "o", ms=6, mec=color,
                  mfc=face)  # fmt: skip
        numbers = format_interval(difference, verdict.unit)
        lines = [f"{verdict.text}, n = {verdict.pairs}: {numbers}"]
        axes.text(
            *(1.02, y),
            "\n".join([*lines, *filter(None, [row.share])]),
            transform=axes.get_yaxis_transform(),
            fontsize=8,
            linespacing=1.1,
            va="center",
            color=color,
            parse_math=False,
        )
    axes.axvline(0, color=theme.muted, lw=1)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}")
    labels = [fill(row.label, LABEL_WIDTH) for row in rows]
    axes.set_yticks(range(len(rows)), labels, parse_math=False, fontsize=8.5)
    for label in axes.get_xticklabels():
        label.set_fontsize(8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set_title(
        fill(title, TITLE_WIDTH), loc="left", fontsize=9.5, weight="bold", parse_math=False
    )
