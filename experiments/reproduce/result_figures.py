"""Figures of the committed results, drawn once for light and once for dark pages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..recipes.recipes import RECIPES
from ..recipes.training_recipe import TrainingRecipe
from ..reporting.committed import committed, committed_results
from ..reporting.constant_actions import format_constant_action
from ..reporting.figures import svg
from ..reporting.forest_plot import CAPTION, THEMES, ForestRow, Theme, draw_forest, share_text
from ..runs.scores import Scores
from ..text.formatting import format_number
from ..verdicts.intervals import format_count
from .grid_tables import grid_shares, grid_verdicts, unfinished
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
ONE_OF_EACH_ROLE = ("deep-sea-10", "minatar-keys", "catch-dreams", "maze-3")
"""The committed grids of the README's figure."""


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


def verdicts(theme: Theme, names: Sequence[str] = ()) -> Any:
    """Draw the difference of each variant of the committed grids, or some, from its baseline.

    Comparisons that lack runs of their first analysis are left out.
    """
    panels: dict[str, list[ForestRow]] = {}
    results = {data["name"]: data for data in committed("ablations/*.json")}
    for data in [results[name] for name in names or results]:
        shares, references = grid_shares(data), data.get("references", [])
        privileged = {x for x, y in zip(data["variants"], references, strict=False) if y}
        baseline, *others = data["variants"]
        varied = {name for variant in others for name in _differing(variant, baseline)}
        compared = {name: x for name, x in _parts(baseline).items() if name in varied}
        for verdict in grid_verdicts(data):
            if unfinished(verdict, data):
                continue
            title = (
                f"{data['name']}: {verdict.env_name}, {format_count(data['steps'])} agent steps, "
                f"against {_text(compared)}"
            )
            mark = "*" if data["name"] in RERUNS else ""
            label = _text(_differing(verdict.variant, baseline)) + mark
            is_reference = verdict.variant in privileged
            row = ForestRow(label, verdict, is_reference, share_text(verdict, shares))
            panels.setdefault(title, []).append(row)
    figure, note = draw_forest(panels, theme), CAPTION
    if any(row.label.endswith("*") for rows in panels.values() for row in rows):
        note += "\n* the notes in docs/results.md say what has changed since"
    figure.supxlabel(
        note,
        fontsize=9,
        color=theme.muted,
        ha="left",
        x=0.01,
        wrap=True,
    )
    return figure


def _parts(variant: str) -> dict[str, str]:
    """Return the parts of a variant by their names without the agent's.

    >>> _parts("agent.gamma 1.0, bonus none")
    {'gamma': '1.0', 'bonus': 'none'}
    """
    return dict(x.removeprefix("agent.").rsplit(" ", 1) for x in variant.split(", "))


def _differing(variant: str, baseline: str) -> dict[str, str]:
    """Return the parts of a variant that its baseline has not."""
    theirs = _parts(baseline)
    return {name: x for name, x in _parts(variant).items() if theirs.get(name) != x}


def _text(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items())


FIGURES: dict[str, Callable[[Theme], Any]] = {
    "learning-curves": learning_curves,
    "verdicts": verdicts,
    "verdicts-by-role": partial(verdicts, names=ONE_OF_EACH_ROLE),
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
