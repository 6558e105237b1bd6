"""Figures: learning curves of a run and of a comparison, and samples of a representation."""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.prng import seeded
from ...world_models.representation.variational import VariationalRepresentation
from ..config.experiment import read_experiment
from ..runs.run import Run
from .comparison import Comparison
from .document import Media
from .intervals import trailing_mean
from .run_results import curves_at

COLORS = ("#5d6b78", "#c1442e", "#1f6f8b", "#d98e04", "#5b8c3a", "#7b4ea3", "#a8577e", "#2f4858")


def learning_curve(run: Run, window: int = 100) -> Path | None:
    """Draw a run's episode scores and their mean over ``window`` episodes, against agent steps.

    Returns the path of the PNG file, or None if no episode has ended.
    """
    rows = run.read_lines("episodes.jsonl")
    if not rows:
        return None
    from matplotlib.figure import Figure  # slow to import

    experiment = read_experiment(run.folder)
    steps = np.array([row["step"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    mean = trailing_mean(scores, window)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    alpha = min(1.0, (5_000 / len(scores)) ** 0.5)  # many points: show their density
    axes.scatter(steps, scores, s=6, color="#9db4c0", alpha=alpha, linewidths=0, label="an episode")
    axes.plot(steps, mean, color="#c1442e", linewidth=2, label=f"mean of the last {window}")
    frame_skip = experiment.env.frame_skip
    axes.set_xlabel("agent steps" if frame_skip == 1 else f"agent steps ({frame_skip} frames each)")
    axes.set_ylabel("score, raw points")
    axes.set_title(
        f"{experiment.env.env_name}, protocol {experiment.env.protocol_label}, "
        f"seed {experiment.seed}",
        fontsize=10,
    )
    axes.xaxis.set_major_formatter(lambda x, _: _format_steps(x))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    path = run.folder / "figures" / "learning_curve.png"
    figure.savefig(path, dpi=140)
    return path


def comparison_curves(comparison: Comparison, env_name: str) -> Media:
    """Draw the training scores of every variant in one env, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(0, comparison.steps, 200)
    for number, (variant, label) in enumerate(comparison.labels.items()):
        results = [x for x in comparison.results_of(variant, env_name) if x.episodes]
        if not results:
            continue
        color = COLORS[number % len(COLORS)]
        curves = curves_at(results, grid)
        complete = ~np.isnan(curves).any(0)  # the mean would jump at the first episode of a seed
        x, curves = grid[complete], curves[:, complete]
        if len(results) > 1:
            axes.fill_between(x, curves.min(0), curves.max(0), color=color, alpha=0.13, lw=0)
            axes.plot(x, curves.T, color=color, lw=0.6, alpha=0.5)
        axes.plot(x, curves.mean(0), color=color, lw=2, label=f"{label} ({len(results)})")
    axes.set_title(env_name, fontsize=11, loc="left", parse_math=False)
    axes.set_xlabel("agent steps")
    axes.set_ylabel("training score, raw points")
    axes.set_xlim(0, comparison.steps)
    axes.xaxis.set_major_formatter(lambda x, _: _format_steps(x))
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
    name = f"{env_name}-{comparison.protocol}-{comparison.steps}"
    slug = "".join(x if x.isalnum() else "-" for x in name)
    return Media(f"curves-{slug}.svg", data.getvalue(), f"{env_name}, {comparison.title}")


@torch.no_grad()
def representation_figure(
    model: VariationalRepresentation,
    obs: UInt8[Tensor, "M K H W"],
    path: Path,
    *,
    columns: int = 9,
) -> None:
    """Draw reconstructions of held-out observations, samples, traversals and interpolations.

    Of stacked frames, the newest is drawn.
    """
    from matplotlib.figure import Figure  # slow to import

    net = model.model
    shown = obs[torch.linspace(0, len(obs) - 1, columns).long()].to(model.device)
    x = net.prepare(shown)
    codes = model.encode(shown)[:, : net.latent]
    if net.bin_width == 1:  # binary codes: round the probabilities
        codes = codes.round()
    all_codes = model.encode(obs[:: max(len(obs) // 512, 1)])[:, : net.latent]
    by_variance = all_codes.var(0).argsort(descending=True)[:3]
    low, high = all_codes.amin(0), all_codes.amax(0)
    weight = torch.linspace(0, 1, columns, device=model.device)[:, None]
    with seeded(0, model.device):
        samples = net.prior().sample(torch.Size([columns]))
    rows = {
        "observed": x,
        "reconstructed": _likelihood_means(model, codes),
        "sampled": _likelihood_means(model, samples),
    }
    middle = codes[columns // 2]
    for rank, latent in enumerate(by_variance.tolist(), 1):
        traversal = middle.repeat(columns, 1)
        traversal[:, latent] = (low + (high - low) * weight)[:, latent]
        rows[f"latent {latent}\n(no. {rank} by variance)"] = _likelihood_means(model, traversal)
    for first, second in ((0, columns - 1), (1, columns // 2)):
        between = codes[first] + (codes[second] - codes[first]) * weight
        rows[f"from {first + 1}\nto {second + 1}"] = _likelihood_means(model, between)
    aspect = shown.shape[2] / shown.shape[3]
    figure = Figure(figsize=(1.1 * columns + 1.2, 1.1 * aspect * len(rows)), layout="constrained")
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


def _format_steps(x: float) -> str:
    return f"{x / 1e6:g}M" if abs(x) >= 1e6 else f"{x / 1e3:g}k" if x else "0"


def _likelihood_means(
    model: VariationalRepresentation, codes: Float[Tensor, "B D"]
) -> Float[Tensor, "B K H W"]:
    mean: Tensor = model.model.likelihood(codes).mean
    return mean
