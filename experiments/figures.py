"""Figures: of a run as PNG, of a comparison as SVG."""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from envs.dice import seeded
from experiments.document import Media
from experiments.findings import Comparison
from experiments.records import on_grid
from experiments.run import Run
from experiments.statistics import trailing_mean
from world_models.representation.variational import VariationalRepresentation

COLOURS = ("#5d6b78", "#c1442e", "#1f6f8b", "#d98e04", "#5b8c3a", "#7b4ea3", "#a8577e", "#2f4858")


def learning_curve(run: Run, window: int = 100) -> Path | None:
    """Episode scores and their running mean over ``window`` episodes, against agent steps."""
    rows = run.read_lines("episodes.jsonl")
    if not rows:
        return None
    from matplotlib.figure import Figure  # slow to import

    experiment = run.experiment()
    steps = np.array([row["step"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    mean = trailing_mean(scores, window)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    faint = min(1.0, (5_000 / len(scores)) ** 0.5)  # of many, their density is what can be seen
    axes.scatter(steps, scores, s=6, color="#9db4c0", alpha=faint, linewidths=0, label="an episode")
    axes.plot(steps, mean, color="#c1442e", linewidth=2, label=f"mean of the last {window}")
    skip = experiment.env.frame_skip
    axes.set_xlabel("agent steps" if skip == 1 else f"agent steps ({skip} frames each)")
    axes.set_ylabel("score, raw points")
    axes.set_title(
        f"{experiment.env.title}, protocol {experiment.env.protocol_label}, seed {experiment.seed}",
        fontsize=10,
    )
    axes.xaxis.set_major_formatter(lambda x, _: _steps(x))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    for mark in legend.legend_handles:
        if mark is not None:
            mark.set_alpha(1)
    path = run.folder / "figures" / "learning_curve.png"
    figure.savefig(path, dpi=140)
    return path


def comparison_curves(found: Comparison, world: str) -> Media:
    """Training scores of every variant in one world, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(0, found.steps, 200)
    for number, (variant, label) in enumerate(found.labels.items()):
        runs = [run for run in found.of(variant, world) if run.episodes]
        if not runs:
            continue
        colour = COLOURS[number % len(COLOURS)]
        curves = on_grid(runs, grid)
        known = ~np.isnan(curves).any(0)  # a mean of fewer seeds would jump where one joins
        x, curves = grid[known], curves[:, known]
        if len(runs) > 1:
            axes.fill_between(x, curves.min(0), curves.max(0), color=colour, alpha=0.13, lw=0)
            axes.plot(x, curves.T, color=colour, lw=0.6, alpha=0.5)
        axes.plot(x, curves.mean(0), color=colour, lw=2, label=f"{label} ({len(runs)})")
    axes.set_title(world, fontsize=11, loc="left", parse_math=False)
    axes.set_xlabel("agent steps")
    axes.set_ylabel("training score, raw points")
    axes.set_xlim(0, found.steps)
    axes.xaxis.set_major_formatter(lambda x, _: _steps(x))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend = figure.legend(
            handles, labels, loc="outside lower left", frameon=False, fontsize=9, ncols=1
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "reverie"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    slug = "".join(x if x.isalnum() else "-" for x in f"{world}-{found.protocol}-{found.steps}")
    return Media(f"curves-{slug}.svg", data.getvalue(), f"{world}, {found.title}")


@torch.no_grad()
def representation_figure(
    model: VariationalRepresentation,
    looks: UInt8[Tensor, "M K H W"],
    path: Path,
    *,
    columns: int = 9,
) -> None:
    """What a model makes of held-out looks: reconstructions, samples, traversals, interpolations.

    Of a stack, the newest frame is shown.
    """
    from matplotlib.figure import Figure  # slow to import

    net = model.model
    shown = looks[torch.linspace(0, len(looks) - 1, columns).long()].to(model.device)
    x = net.prepare(shown)
    codes = model.encode(shown)[:, : net.latent]
    if net.spacing == 1:  # bits: the likelier of each
        codes = codes.round()
    every = model.encode(looks[:: max(len(looks) // 512, 1)])[:, : net.latent]
    used = every.var(0).argsort(descending=True)[:3]
    low, high = every.amin(0), every.amax(0)
    share = torch.linspace(0, 1, columns, device=model.device)[:, None]
    with seeded(0, model.device):
        drawn = net.prior().sample(torch.Size([columns]))
    rows = {"seen": x, "reconstructed": _means(model, codes), "sampled": _means(model, drawn)}
    middle = codes[columns // 2]
    for rank, latent in enumerate(used.tolist(), 1):
        walk = middle.repeat(columns, 1)
        walk[:, latent] = (low + (high - low) * share)[:, latent]
        rows[f"latent {latent}\n(no. {rank} by variance)"] = _means(model, walk)
    for first, second in ((0, columns - 1), (1, columns // 2)):
        between = codes[first] + (codes[second] - codes[first]) * share
        rows[f"from {first + 1}\nto {second + 1}"] = _means(model, between)
    tall = shown.shape[2] / shown.shape[3]
    figure = Figure(figsize=(1.1 * columns + 1.2, 1.1 * tall * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns)
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image[-1].clamp(0, 1).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)


def _steps(x: float) -> str:
    return f"{x / 1e6:g}M" if abs(x) >= 1e6 else f"{x / 1e3:g}k" if x else "0"


def _means(
    model: VariationalRepresentation, codes: Float[Tensor, "B D"]
) -> Float[Tensor, "B K H W"]:
    mean: Tensor = model.model.likelihood(codes).mean
    return mean
