"""Figures of the committed results, drawn once for light and once for dark pages."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..recipes.recipes import RECIPES
from ..recipes.training_recipe import TrainingRecipe
from ..reporting.committed import committed, committed_results
from ..reporting.constant_actions import format_constant_action
from ..reporting.figures import svg
from ..reporting.forest_plot import CAPTION, THEMES, ForestRow, Theme, draw_forest, share_text
from ..runs.scores import Scores
from ..verdicts.intervals import format_count, format_number
from .grid_tables import grid_shares, grid_verdicts
from .reruns import RERUNS

FONTS = ("DejaVu Sans", "Verdana", "sans-serif")
"""The first measures the text; a page without it shows another."""

ROLES = {
    "count": ("freeway-dqn", "freeway-dqn-cts"),
    "remember": ("ms_pacman-mfec-300k", "ms_pacman-mfec-vae-300k"),
    "imagine": ("ms_pacman-dqn-short", "ms_pacman-dqn-informed"),
    "plan": ("maze-ppo", "maze-figar", "maze-straw", "maze-strawe"),
}
"""The committed results of each panel of the learning curves, the baseline first."""


def learning_curves(theme: Theme) -> Any:
    """Draw the training scores of an agent of each role beside its baseline's."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(8, 6.4), layout="constrained")
    named = {data["name"]: data for data in committed_results("training")}
    for axes, (role, names) in zip(figure.subplots(2, 2).flat, ROLES.items(), strict=True):
        _role_panel(axes, role, [named[name] for name in names], theme)
    figure.supxlabel(
        "Training scores in raw points: mean of the last 100 episodes; thin: a seed, thick: the "
        "mean over seeds; dashed: random play.\n* made before a fault of it was mended: see the "
        "notes in docs/results.md",
        fontsize=9,
        color=theme.muted,
        ha="left",
        x=0.01,
    )
    return figure


def _role_panel(axes: Any, role: str, results: list[dict[str, Any]], theme: Theme) -> None:
    """Draw the curves of every seed and their mean for each of the results."""
    baseline = results[0]
    for color, data in zip(theme.agents, results, strict=False):
        curves = np.array([run["train"]["curve"] for run in data["runs"]])  # [seeds, points, 2]
        num_seeds, steps, scores = len(curves), curves[0, :, 0], curves[..., 1]
        seeds = axes.plot(steps, scores.T, color=color, lw=1.2, alpha=1 if num_seeds == 1 else 0.6)
        mean = axes.plot(steps, scores.mean(0), color=color, lw=2.4) if num_seeds > 1 else seeds
        mark = "*" if data["name"] in RERUNS else ""
        mean[0].set_label(f"{data['preset']}{mark}, {num_seeds} seed{'s' * (num_seeds > 1)}")
    random = Scores.from_json(baseline["random"])
    axes.axhline(random.mean, color=theme.muted, lw=1, ls=(0, (4, 3)))
    constant = format_constant_action(random.game, baseline["protocol"])
    players = f"random play {format_number(random.mean)}"
    players += f", best constant action {constant}" if constant else ""
    title = f"{role}: {baseline['env_name']}"
    axes.set_title(title, loc="left", fontsize=12, weight="bold", pad=36)
    axes.annotate(
        f"protocol {_training_protocol(baseline)}\n{players}",
        *((0, 1), (0, 6)),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        linespacing=1.4,
        color=theme.muted,
        in_layout=False,
    )
    axes.set(xlabel="agent steps", ylabel="score")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:,g}")
    axes.set_xlim(0, baseline["steps"])
    axes.xaxis.set_major_formatter(lambda x, _: format_count(x))
    axes.grid(axis="y", alpha=0.25)
    axes.legend(loc="best", frameon=False, fontsize=9)


def _training_protocol(data: dict[str, Any]) -> str:
    """Return the label of the env in which a result was trained; evaluation may be in another."""
    recipe = RECIPES[data["name"]]
    assert isinstance(recipe, TrainingRecipe)
    return recipe.experiment.env.protocol_label


def verdicts(theme: Theme) -> Any:
    """Draw the difference of every variant of the committed grids from its baseline."""
    panels: dict[str, list[ForestRow]] = {}
    for data in committed("ablations/*.json"):
        shares, references = grid_shares(data), data.get("references", [])
        names = {x for x, y in zip(data["variants"], references, strict=False) if y}
        for verdict in grid_verdicts(data):
            title = f"{data['name']}: {verdict.env_name}, {format_count(data['steps'])} agent steps"
            mark = "*" if data["name"] in RERUNS else ""
            label = _contrast(verdict.variant, data["variants"][0]) + mark
            row = ForestRow(label, verdict, verdict.variant in names, share_text(verdict, shares))
            panels.setdefault(title, []).append(row)
    figure, note = draw_forest(panels, theme), CAPTION
    if any(row.label.endswith("*") for rows in panels.values() for row in rows):
        note += "\n* made before a fault of it was mended: see the notes in docs/results.md"
    figure.supxlabel(
        note,
        fontsize=9,
        color=theme.muted,
        ha="left",
        x=0.01,
        wrap=True,
    )
    return figure


def _contrast(variant: str, baseline: str) -> str:
    """Return the parts in which a variant differs, each with the baseline's value if it has one.

    >>> _contrast("agent.gamma 0.99, agent.epsilon 0.1", "agent.gamma 1.0, agent.epsilon 0.1")
    'gamma 0.99 (baseline: 1.0)'
    """
    ours, theirs = (
        dict(part.rsplit(" ", 1) for part in label.split(", ")) for label in (variant, baseline)
    )
    return ", ".join(
        f"{name.removeprefix('agent.')} {value}"
        + (f" (baseline: {theirs[name]})" if name in theirs else "")
        for name, value in ours.items()
        if theirs.get(name) != value
    )


FIGURES: dict[str, Callable[[Theme], Any]] = {
    "learning-curves": learning_curves,
    "verdicts": verdicts,
}


def figure_files() -> Iterator[tuple[str, bytes]]:
    """Yield the path below the checkout and the bytes of every figure in every theme."""
    from matplotlib import rc_context  # slow to import

    for theme_name, theme in THEMES.items():
        style: Any = {
            "figure.constrained_layout.h_pad": 0.1,
            "font.sans-serif": FONTS,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            **dict.fromkeys(("text.color", "axes.titlecolor"), theme.text),
            **dict.fromkeys(
                ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"),
                theme.muted,
            ),
        }
        with rc_context(style):
            for name, draw in FIGURES.items():
                yield f"docs/figures/{name}-{theme_name}.svg", svg(draw(theme))
