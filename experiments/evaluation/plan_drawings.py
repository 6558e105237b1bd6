"""Drawings of plans: cells for videos and for play, and a figure of an episode."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageColor, ImageDraw, ImageFont

from ...envs.interface import Transition
from ..runs.files import write_figure
from .plans import Plan, PlanTrace
from .video import Image

SHOWN_TIMESTEPS = 40
"""Timesteps of a plan that are shown."""
EXTRA_ROWS = ("window", "replan")
"""Names of the rows below those of the actions."""
MIN_PANEL_WIDTH = 160
"""Pixels; a narrower image gets a border on its right."""
ROW, GAP = 12, 2
"""Height of a row of cells in pixels, and of the gap in it."""

PLAN_COLOR, REPLAN_COLOR, TEXT_COLOR = "#006778", "#c1442e", "#282c34"
BACKGROUND, EMPTY_CELL = "#f6f3ec", "#e8e4db"


def plan_levels(plan: Plan) -> Float[NDArray[np.float32], "R S"]:
    """Return the next timesteps of a plan in 0..1: a row per action, and ``EXTRA_ROWS``."""
    rows = plan.probs.numpy(), plan.window[None].numpy(), plan.replan_prob[None].numpy()
    probs, window, replan_prob = (x[:, :SHOWN_TIMESTEPS] for x in rows)
    return np.concatenate([probs, window / max(window.max(), 1e-9), replan_prob])


def rgb(color: str) -> NDArray[np.uint8]:
    """Return the levels of a color such as #006778."""
    return np.array(ImageColor.getrgb(color), np.uint8)


def paint_cells(
    levels: Float[NDArray[np.float32], "R S"],
    colors: list[str],
    *,
    cell: int,
    empty: str = EMPTY_CELL,
    background: str = BACKGROUND,
) -> Image:
    """Return an image of cells ``cell`` pixels wide, with a color per row.

    The color of a cell is ``empty`` at level 0 and that of its row at level 1.
    """
    filled, weights = np.stack([*map(rgb, colors)])[:, None], levels[..., None]
    blend = weights * filled + (1 - weights) * rgb(empty)
    image: Image = blend.repeat(ROW, 0).repeat(cell, 1).astype(np.uint8)
    image[:, cell - 1 :: cell] = rgb(background)
    image.reshape(len(levels), ROW, -1, 3)[:, -GAP:] = rgb(background)
    return image


def with_plan(
    trace: PlanTrace, action_names: tuple[str, ...]
) -> Callable[[Image, Transition], Image]:
    """Return a function that adds a panel of the present plan below an image, if there is one."""

    def draw(image: Image, t: Transition) -> Image:
        plan = trace.plan
        if not (plan and plan.written):
            return image
        border = max(0, MIN_PANEL_WIDTH - image.shape[1])
        image = np.pad(image, ((0, 0), (0, border), (0, 0)))
        panel = plan_panel(plan, int(t.action[0]), image.shape[1], action_names)
        return np.concatenate([image, panel])

    return draw


def plan_panel(plan: Plan, action: int, width: int, action_names: tuple[str, ...]) -> Image:
    """Render a plan: a row per action, a column per timestep, darker if more probable.

    Two rows below show the last attention window and the probability of replanning (red). A red
    left edge marks that it has just replanned; a dark bar marks the action taken.
    """
    levels = plan_levels(plan)
    labels = _labels((*action_names, *EXTRA_ROWS))
    if width < labels.shape[1] + 3 * levels.shape[1]:  # too narrow for labels
        labels = labels[:, :10]
    left, room = labels.shape[1], max(width - labels.shape[1] - 2, 0)
    colors = [PLAN_COLOR] * len(action_names) + [TEXT_COLOR, REPLAN_COLOR]
    cells = paint_cells(levels, colors, cell=max(3, room // levels.shape[1]))[:, :room]
    panel = np.full((len(cells) + 6, width, 3), rgb(BACKGROUND), np.uint8)
    panel[4:-2, :left] = labels
    panel[4:-2, left : left + cells.shape[1]] = cells
    panel[4 + ROW * action :][: ROW - GAP, 4:8] = rgb(TEXT_COLOR)
    if plan.age == 0:
        panel[:, :3] = rgb(REPLAN_COLOR)
    return panel


@lru_cache
def _labels(names: tuple[str, ...]) -> Image:
    """Render names one below another, in the rows of the panel."""
    font = ImageFont.load_default(ROW - 2)
    width = 12 + int(max(font.getlength(name) for name in names)) + 4
    image = Pillow.new("RGB", (width, ROW * len(names)), BACKGROUND)
    for i, name in enumerate(names):
        ImageDraw.Draw(image).text((12, i * ROW - 2), name, fill=TEXT_COLOR, font=font)
    return np.asarray(image)


def draw_episode(
    timesteps: list[tuple[int, Plan]], action_names: tuple[str, ...], title: str, path: Path
) -> None:
    """Save a figure of an episode's actions and plans, with three of the plans in full."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    grid = figure.add_gridspec(4, 3, height_ratios=[3, 1, 3, 1])
    actions, plans = zip(*timesteps, strict=True)
    replanned = [i for i, plan in enumerate(plans) if plan.age == 0]
    # A plan holds the probability of the next timestep; before the first one there is no plan.
    replan_prob = np.array([1.0, *(float([*p.replan_prob[:2], 1.0][1]) for p in plans[:-1])])
    probs = np.stack([plan.probs[:, 0].numpy() for plan in plans], 1)
    top, below = _add_axes(figure, grid[0, :], grid[1, :], probs, replan_prob, action_names)
    top.scatter(range(len(actions)), actions, s=9, color=TEXT_COLOR, zorder=3)
    for i in replanned:
        top.axvline(i - 0.5, color=REPLAN_COLOR, linewidth=0.8, alpha=0.8)
    top.set_title(f"{title}: probability of each action; replanning in red", fontsize=10)
    below.set_ylabel("probability of\nreplanning", fontsize=8)
    below.set_xlabel("timestep of the episode", fontsize=9)
    for column, i in enumerate(sorted({replanned[len(replanned) * k // 3] for k in range(3)})):
        levels, cells = plan_levels(plans[i]), (grid[2, column], grid[3, column])
        names = action_names if column == 0 else ("",) * len(action_names)
        above, line = _add_axes(figure, *cells, levels[:-2], levels[-1], names)
        window = levels[-2]
        above.set_title(f"plan made at timestep {i}", fontsize=9)
        positions, gray = range(len(window)), {"color": TEXT_COLOR, "alpha": 0.2, "linewidth": 0}
        line.fill_between(positions, window, step="mid", label="window", **gray)
        line.set_xlabel("timesteps ahead", fontsize=9)
        if column == 0:
            line.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, frameon=False)
    write_figure(path, figure)


def _add_axes(
    figure: Any,
    above: Any,
    below: Any,
    probs: Float[NDArray[np.float32], "A S"],
    replan_prob: Float[NDArray[Any], " S"],
    action_names: tuple[str, ...],
) -> tuple[Any, Any]:
    """Add axes of the actions' probabilities, and axes of that of replanning below them."""
    from matplotlib.colors import LinearSegmentedColormap

    both = upper, lower = figure.add_subplot(above), figure.add_subplot(below)
    colors = LinearSegmentedColormap.from_list("plan", [BACKGROUND, PLAN_COLOR])
    upper.imshow(probs, aspect="auto", cmap=colors, vmin=0, vmax=1, origin="lower")
    upper.set_yticks(range(len(action_names)), action_names)
    lower.step(
        range(len(replan_prob)), replan_prob, where="mid", color=REPLAN_COLOR, linewidth=1.2,
        label="probability of replanning",
    )  # fmt: skip
    lower.set_ylim(-0.05, 1.1)
    for axes in both:
        axes.set_xlim(-0.5, len(replan_prob) - 0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return both
