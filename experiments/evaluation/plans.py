"""Inspection of planners: the lengths of plans as metrics, and plans as a figure and in videos.

Everything is read from the planner's carry in the loop's transitions: ``age`` (timesteps since the
last replanning) of any planner that commits itself, and STRAW's ``plan``, ``replan_prob`` and
``window``, whose position 0 is the present.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torch import Tensor

from ...envs.interface import Carry, Metrics, Transition
from ...world_models.planning.straw import shift

Image = NDArray[np.uint8]

MAX_LENGTH = 1000
"""Plans of this length and longer are counted together."""
SHOWN_TIMESTEPS = 40
"""Timesteps of a plan that are shown."""
ROW = 12
"""Height of an action's row in a video, in pixels."""

PLAN_COLOR = (0, 103, 120)
REPLAN_COLOR = (193, 68, 46)
TEXT_COLOR = (40, 44, 52)
BACKGROUND = (246, 243, 236)
EMPTY_CELL = (232, 228, 219)


class PlanLengths:
    """A histogram of the number of timesteps between replannings.

    The last plan of an episode is cut short and not counted.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None  # [MAX_LENGTH + 1], by length; None before the first plan

    def update(self, t: Transition) -> None:
        """Count the plans that end at a transition."""
        if "age" not in t.next_carry:
            return
        if self.counts is None:
            self.counts = torch.zeros(MAX_LENGTH + 1, device=t.action.device)
        ended = (t.next_carry["age"] == 0) & t.valid & ~t.step.first
        length = (t.carry["age"] + 1).clamp(max=MAX_LENGTH)
        self.counts.index_add_(0, length, ended.to(self.counts.dtype))

    def pop(self) -> NDArray[np.float64]:
        """Return the number of plans of each length since the last call; empty without plans."""
        if self.counts is None:
            return np.zeros(0)
        counts: NDArray[np.float64] = self.counts.double().cpu().numpy()
        self.counts = torch.zeros_like(self.counts)
        return counts if counts.any() else np.zeros(0)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.counts is None else {"counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"].clone() if "counts" in state else None


def length_metrics(counts: NDArray[np.float64]) -> Metrics:
    """Return the mean length of plans in timesteps, and the share of plans of one timestep."""
    if not len(counts):
        return {}
    lengths = np.arange(len(counts))
    return {
        "plan/mean_length": float((counts * lengths).sum() / counts.sum()),
        "plan/share_of_length_1": float(counts[1] / counts.sum()),
    }


def with_plan(
    screen: Callable[[Transition], Image], action_names: tuple[str, ...]
) -> Callable[[Transition], Image]:
    """Return a function that renders a screen and, if env 0 has a plan, its panel below."""

    def render(t: Transition) -> Image:
        image = screen(t)
        if "plan" not in t.next_carry:
            return image
        return stack_vertically(image, plan_panel(t, image.shape[1], action_names))

    return render


def stack_vertically(image: Image, panel: Image) -> Image:
    """Return one image above another, cropped to an even height as H.264 requires."""
    stacked: Image = np.concatenate([image, panel])
    return stacked[: len(stacked) // 2 * 2]


def plan_panel(t: Transition, width: int, action_names: tuple[str, ...]) -> Image:
    """Render env 0's plan: a row per action, a column per timestep, darker if more probable.

    Two rows below show the last attention window and the probability of replanning (red). A red
    left edge marks that it has just replanned; a dark bar marks the action taken.
    """
    probs, window, replan_prob = (
        x[:, :SHOWN_TIMESTEPS].numpy() for x in plan_of_first_env(t.next_carry)
    )
    labels = _labels((*action_names, "window", "replan"))
    if width < labels.shape[1] + 3 * probs.shape[1]:  # too narrow for labels
        labels = labels[:, :10]
    left = labels.shape[1]
    cell = max(3, (width - left - 2) // probs.shape[1])
    rows = [_cells(row[None], PLAN_COLOR, cell) for row in probs]
    rows += [_cells(window / max(window.max(), 1e-9), TEXT_COLOR, cell)]
    rows += [_cells(replan_prob, REPLAN_COLOR, cell)]
    panel = np.full((len(rows) * ROW + 6, width, 3), BACKGROUND, np.uint8)
    panel[4 : 4 + len(labels), :left] = labels
    for i, row in enumerate(rows):
        visible = row[:, : max(width - left - 2, 0)]
        panel[4 + i * ROW :][: len(row), left : left + visible.shape[1]] = visible
    panel[4 + ROW * int(t.action[0]) :][: ROW - 2, 4:8] = TEXT_COLOR
    if int(t.next_carry["age"][0]) == 0:
        panel[:, :3] = REPLAN_COLOR
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


def plan_of_first_env(carry: Carry) -> tuple[Tensor, Tensor, Tensor]:
    """Return env 0's action probabilities [A, T], window [1, T] and replan probabilities [1, T]."""
    probs = carry["plan"][0].softmax(0)
    return probs.cpu(), carry["window"][:1].cpu(), carry["replan_prob"][:1].cpu()


def _cells(level: NDArray[Any], color: tuple[int, int, int], cell: int) -> Image:
    """Render a row of cells, from empty at level 0 to the color at 1, with gaps between cells."""
    blend = level[..., None] * np.array(color) + (1 - level[..., None]) * np.array(EMPTY_CELL)
    row: Image = blend.repeat(cell, 1).repeat(ROW - 2, 0).astype(np.uint8)
    row[:, cell - 1 :: cell] = BACKGROUND
    return row


class PlanTrace:
    """The plans of env 0 in its first whole episode; ``draw`` makes a figure of them."""

    def __init__(self, action_names: tuple[str, ...], max_timesteps: int = 150) -> None:
        self.action_names, self.max_timesteps = action_names, max_timesteps
        self.timesteps: list[dict[str, Any]] = []
        self.done = False

    def update(self, t: Transition) -> None:
        """Store a transition of the episode."""
        started = self.timesteps or bool(t.step.first[0])
        if self.done or "plan" not in t.next_carry or not started:
            return
        probs, window, replan_prob = plan_of_first_env(t.next_carry)
        self.timesteps.append(
            {
                "action": int(t.action[0]),
                "replanned": int(t.next_carry["age"][0]) == 0,
                "replan_prob": float(shift(t.carry["replan_prob"][:1, :2], 1.0)[0, 0]),
                "probs": probs[:, :SHOWN_TIMESTEPS].numpy(),
                "window": window[0, :SHOWN_TIMESTEPS].numpy(),
                "planned_replan_prob": replan_prob[0, :SHOWN_TIMESTEPS].numpy(),
            }
        )
        self.done = bool(t.next_step.last[0]) or len(self.timesteps) == self.max_timesteps

    def draw(self, path: Path, title: str) -> None:
        """Save a figure of the episode and of three of its plans; nothing without a plan."""
        if not self.timesteps:
            return
        from matplotlib.colors import LinearSegmentedColormap  # slow to import
        from matplotlib.figure import Figure

        red, ink, blue, paper = (
            "#{:02x}{:02x}{:02x}".format(*color)
            for color in (REPLAN_COLOR, TEXT_COLOR, PLAN_COLOR, BACKGROUND)
        )
        colormap = LinearSegmentedColormap.from_list("plan", [paper, blue])
        replanned = [i for i, timestep in enumerate(self.timesteps) if timestep["replanned"]]
        count = len(self.timesteps)
        shown_plans = sorted({replanned[len(replanned) * k // 3] for k in range(3)})
        names = self.action_names

        figure = Figure(figsize=(10, 6.4), layout="constrained")
        grid = figure.add_gridspec(4, 3, height_ratios=[3, 1, 3, 1])
        top, below = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, :])
        probs = np.stack([timestep["probs"][:, 0] for timestep in self.timesteps], 1)
        top.imshow(probs, aspect="auto", cmap=colormap, vmin=0, vmax=1, origin="lower",
                   extent=(-0.5, count - 0.5, -0.5, len(names) - 0.5))  # fmt: skip
        actions = [timestep["action"] for timestep in self.timesteps]
        top.scatter(range(count), actions, s=9, color=ink, label="action", zorder=3)
        for i in replanned:
            top.axvline(i - 0.5, color=red, linewidth=0.8, alpha=0.8)
        top.set_title(f"{title}: probability of each action; replanning in red", fontsize=10)
        replan_prob = [timestep["replan_prob"] for timestep in self.timesteps]
        below.step(range(count), replan_prob, where="mid", color=red, linewidth=1.2)
        below.set_ylabel("probability of\nreplanning", fontsize=8)
        below.set_xlabel("timestep of the episode", fontsize=9)
        for axes in (top, below):
            axes.set_xlim(-0.5, count - 0.5)
        for column, at in enumerate(shown_plans):
            timestep = self.timesteps[at]
            plan = figure.add_subplot(grid[2, column])
            length = timestep["probs"].shape[1]
            extent = (-0.5, length - 0.5, -0.5, len(names) - 0.5)
            plan.imshow(timestep["probs"], aspect="auto", cmap=colormap, vmin=0, vmax=1,
                        origin="lower", extent=extent)  # fmt: skip
            plan.set_title(f"plan made at timestep {at}", fontsize=9)
            line = figure.add_subplot(grid[3, column])
            ahead, window = np.arange(length), timestep["window"]
            line.step(ahead, timestep["planned_replan_prob"], where="mid", color=red,
                      linewidth=1.2, label="probability of replanning")  # fmt: skip
            line.fill_between(ahead, window / max(window.max(), 1e-9), step="mid",
                              color=ink, alpha=0.2, linewidth=0, label="window")  # fmt: skip
            line.set_xlim(-0.5, length - 0.5)
            line.set_xlabel("timesteps ahead", fontsize=9)
            _style(plan, names if column == 0 else ("",) * len(names))
            _style(line)
            line.set_ylim(-0.05, 1.1)
            if column == 0:
                line.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8,
                            borderpad=0, edgecolor="none")  # fmt: skip
        _style(top, names)
        _style(below)
        below.set_ylim(-0.05, 1.1)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=140)


def _style(axes: Any, names: tuple[str, ...] = ()) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if names:
        axes.set_yticks(range(len(names)), names)
