"""Looking at plans: how long they last, and what was planned, as numbers, figure and film.

All of it reads the planner's memory in the loop's transitions: ``age`` (ticks since it last planned
anew) of any planner that commits itself, and STRAW's ``plan``, ``commitment`` and ``window``, whose
place 0 is now.
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

from envs.interface import Metrics, Transition
from world_models.planning.straw import shift

Image = NDArray[np.uint8]

LONGEST = 1000
"""Plans of this length and beyond are counted together."""
AHEAD = 40
"""Places of a plan that are shown."""
ROW = 12
"""Height of an action's row in a film, in pixels."""

PLANNED, MARK, INK, PAPER = (0, 103, 120), (193, 68, 46), (40, 44, 52), (246, 243, 236)
"""Colours: what is planned, where plans are made, text and ground."""


class PlanLengths:
    """How many ticks each plan was followed until the next was made.

    The last plan of an episode is cut short by its end, and not counted.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None  # [LONGEST + 1], by length; None until a plan was seen

    def update(self, t: Transition) -> None:
        """Add one tick."""
        if "age" not in t.next_memory:
            return
        if self.counts is None:
            self.counts = torch.zeros(LONGEST + 1, device=t.action.device)
        ended = (t.next_memory["age"] == 0) & t.valid & ~t.step.first
        length = (t.memory["age"] + 1).clamp(max=LONGEST)
        self.counts.index_add_(0, length, ended.to(self.counts.dtype))

    def pop(self) -> NDArray[np.float64]:
        """Plans of each length since the last call; empty where none was made."""
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
    """Mean length in ticks, and the share of plans made anew at once."""
    if not len(counts):
        return {}
    lengths = np.arange(len(counts))
    return {
        "plan/mean_length": float((counts * lengths).sum() / counts.sum()),
        "plan/share_of_length_1": float(counts[1] / counts.sum()),
    }


def with_plan(
    screen: Callable[[Transition], Image], names: tuple[str, ...]
) -> Callable[[Transition], Image]:
    """The screen of stream 0, and below it what its planner has in mind, if it has a plan."""

    def show(t: Transition) -> Image:
        image = screen(t)
        if "plan" not in t.next_memory:
            return image
        return under(image, plan_panel(t, image.shape[1], names))

    return show


def under(image: Image, panel: Image) -> Image:
    """One picture above another, of even height, as H.264 wants it."""
    both: Image = np.concatenate([image, panel])
    return both[: len(both) // 2 * 2]


def plan_panel(t: Transition, width: int, names: tuple[str, ...]) -> Image:
    """Stream 0's plan: a row an action, a column a tick to come, darker where likelier.

    Below the rows stand the window it last wrote through and, in red, the chance of planning anew;
    a red edge on the left says that it has just done so, a bar there which action is done.
    """
    policy, window, chance = (x[:, :AHEAD].numpy() for x in ahead(t.next_memory))
    labels = _labels((*names, "window", "plan anew"))
    if width < labels.shape[1] + 3 * policy.shape[1]:  # there is no room for them
        labels = labels[:, :10]
    left = labels.shape[1]
    cell = max(3, (width - left - 2) // policy.shape[1])
    rows = [_shade(row[None], PLANNED, cell) for row in policy]
    rows += [_shade(window / max(window.max(), 1e-9), INK, cell), _shade(chance, MARK, cell)]
    panel = np.full((len(rows) * ROW + 6, width, 3), PAPER, np.uint8)
    panel[4 : 4 + len(labels), :left] = labels
    for i, row in enumerate(rows):
        shown = row[:, : max(width - left - 2, 0)]
        panel[4 + i * ROW :][: len(row), left : left + shown.shape[1]] = shown
    panel[4 + ROW * int(t.action[0]) :][: ROW - 2, 4:8] = INK
    if int(t.next_memory["age"][0]) == 0:
        panel[:, :3] = MARK
    return panel


@lru_cache
def _labels(names: tuple[str, ...]) -> Image:
    """Names below one another, each beside the row it is of."""
    font = ImageFont.load_default(ROW - 2)
    width = 12 + int(max(font.getlength(name) for name in names)) + 4
    image = Pillow.new("RGB", (width, ROW * len(names)), PAPER)
    for i, name in enumerate(names):
        ImageDraw.Draw(image).text((12, i * ROW - 2), name, fill=INK, font=font)
    return np.asarray(image)


def ahead(memory: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Stream 0's action probabilities [A, T], window [1, T] and chance of planning anew [1, T]."""
    policy = memory["plan"][0].softmax(0)
    return policy.cpu(), memory["window"][:1].cpu(), memory["commitment"][:1].cpu()


def _shade(level: NDArray[Any], colour: tuple[int, int, int], cell: int) -> Image:
    """A row of cells, from paper at 0 to the colour at 1, with a gap between cells."""
    blend = level[..., None] * np.array(colour) + (1 - level[..., None]) * np.array((232, 228, 219))
    row: Image = blend.repeat(cell, 1).repeat(ROW - 2, 0).astype(np.uint8)
    row[:, cell - 1 :: cell] = PAPER
    return row


class PlanTrace:
    """The plans of stream 0's first whole episode; ``draw`` makes a figure of them."""

    def __init__(self, names: tuple[str, ...], longest: int = 150) -> None:
        self.names, self.longest = names, longest
        self.ticks: list[dict[str, Any]] = []
        self.done = False

    def update(self, t: Transition) -> None:
        """Keep one tick."""
        if self.done or "plan" not in t.next_memory or not (self.ticks or bool(t.step.first[0])):
            return
        policy, window, chance = ahead(t.next_memory)
        self.ticks.append(
            {
                "action": int(t.action[0]),
                "anew": int(t.next_memory["age"][0]) == 0,
                "chance": float(shift(t.memory["commitment"][:1, :2], 1.0)[0, 0]),
                "policy": policy[:, :AHEAD].numpy(),
                "window": window[0, :AHEAD].numpy(),
                "ahead": chance[0, :AHEAD].numpy(),
            }
        )
        self.done = bool(t.next_step.last[0]) or len(self.ticks) == self.longest

    def draw(self, path: Path, title: str) -> None:
        """The episode above, and below it three of its plans at the ticks they were made.

        Nothing is drawn of a policy that has no plan.
        """
        if not self.ticks:
            return
        from matplotlib.colors import LinearSegmentedColormap  # slow to import
        from matplotlib.figure import Figure

        red, ink, blue, paper = (
            "#{:02x}{:02x}{:02x}".format(*colour) for colour in (MARK, INK, PLANNED, PAPER)
        )
        shades = LinearSegmentedColormap.from_list("plan", [paper, blue])
        anew = [i for i, tick in enumerate(self.ticks) if tick["anew"]]
        count = len(self.ticks)
        moments = sorted({anew[len(anew) * k // 3] for k in range(3)})
        names = self.names

        figure = Figure(figsize=(10, 6.4), layout="constrained")
        grid = figure.add_gridspec(4, 3, height_ratios=[3, 1, 3, 1])
        top, below = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, :])
        policy = np.stack([tick["policy"][:, 0] for tick in self.ticks], 1)
        top.imshow(policy, aspect="auto", cmap=shades, vmin=0, vmax=1, origin="lower",
                   extent=(-0.5, count - 0.5, -0.5, len(names) - 0.5))  # fmt: skip
        top.scatter(
            range(count), [t["action"] for t in self.ticks], s=9, color=ink, label="done", zorder=3
        )
        for i in anew:
            top.axvline(i - 0.5, color=red, linewidth=0.8, alpha=0.8)
        top.set_title(f"{title}: probability of each action, and (red) where it planned anew",
                      fontsize=10)  # fmt: skip
        below.step(
            range(count), [t["chance"] for t in self.ticks], where="mid", color=red, linewidth=1.2
        )
        below.set_ylabel("chance of\nplanning", fontsize=8)
        below.set_xlabel("tick of the episode", fontsize=9)
        for axes in (top, below):
            axes.set_xlim(-0.5, count - 0.5)
        for column, moment in enumerate(moments):
            tick = self.ticks[moment]
            plan = figure.add_subplot(grid[2, column])
            places = tick["policy"].shape[1]
            extent = (-0.5, places - 0.5, -0.5, len(names) - 0.5)
            plan.imshow(tick["policy"], aspect="auto", cmap=shades, vmin=0, vmax=1,
                        origin="lower", extent=extent)  # fmt: skip
            plan.set_title(f"plan made at tick {moment}", fontsize=9)
            line = figure.add_subplot(grid[3, column])
            ticks = np.arange(places)
            line.step(ticks, tick["ahead"], where="mid", color=red, linewidth=1.2,
                      label="chance of planning anew")  # fmt: skip
            line.fill_between(ticks, tick["window"] / max(tick["window"].max(), 1e-9), step="mid",
                              color=ink, alpha=0.2, linewidth=0, label="window")  # fmt: skip
            line.set_xlim(-0.5, places - 0.5)
            line.set_xlabel("ticks ahead", fontsize=9)
            _tidy(plan, names if column == 0 else ("",) * len(names))
            _tidy(line)
            line.set_ylim(-0.05, 1.1)
            if column == 0:
                line.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8,
                            borderpad=0, edgecolor="none")  # fmt: skip
        _tidy(top, names)
        _tidy(below)
        below.set_ylim(-0.05, 1.1)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=140)


def _tidy(axes: Any, names: tuple[str, ...] = ()) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if names:
        axes.set_yticks(range(len(names)), names)
