"""Figures: learning curves of a run and of a comparison, and samples of a representation."""

import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.prng import seeded
from ...world_models.latents.interface import ConditionalModel
from ...world_models.representation.variational import VariationalRepresentation
from ..config.serialization import read_experiment
from ..runs.files import write_figure
from ..runs.run import Run
from ..verdicts.intervals import (
    by_env,
    format_count,
    normalized,
    performance_profile,
    trailing_mean,
)
from .comparison import Comparison
from .document import Media
from .run_results import WINDOW, curves_at

COLORS = ("#5d6b78", "#c1442e", "#1f6f8b", "#d98e04", "#5b8c3a", "#7b4ea3", "#a8577e", "#2f4858")
LEGEND: Any = {"loc": "outside lower left", "frameon": False, "fontsize": 9}


def learning_curve(run: Run) -> Path | None:
    """Draw a run's episode scores and their trailing mean, against agent steps.

    Returns the path of the PNG file, or None if no episode has ended.
    """
    (steps, scores), _ = run.read_columns("episodes.jsonl", "step", "score")
    if not len(steps):
        return None
    experiment = read_experiment(run.folder)
    figure, axes = _score_figure(
        f"{experiment.env.env_name}, protocol {experiment.env.protocol_label}, "
        f"seed {experiment.seed}",
        "score of an episode, raw points",
    )
    alpha = min(1.0, (5_000 / len(scores)) ** 0.5)  # many points: show their density
    axes.scatter(steps, scores, s=6, color="#9db4c0", alpha=alpha, linewidths=0)
    axes.plot(steps, trailing_mean(scores, WINDOW), color=COLORS[1], linewidth=2)
    figure.legend(axes.lines, [f"mean of the last {WINDOW}"], **LEGEND)
    if (frame_skip := experiment.env.frame_skip) != 1:
        axes.set_xlabel(f"agent steps ({frame_skip} frames each)")
    path = run.folder / "figures" / "learning_curve.png"
    write_figure(path, figure)
    return path


def comparison_curves(comparison: Comparison, env_name: str) -> Media:
    """Draw the training scores of every variant in one env, as SVG."""
    figure, axes = _score_figure(env_name, "training score, raw points")
    grid = np.linspace(0, comparison.steps, 200)
    for color, variant in zip(itertools.cycle(COLORS), comparison.variants):
        results = [x for x in variant.results if x.env_name == env_name and x.episodes.size]
        if not results:
            continue
        curves = curves_at(results, grid)
        complete = ~np.isnan(curves).any(0)  # the mean would jump at the first episode of a seed
        x, curves = grid[complete], curves[:, complete]
        if len(results) > 1:
            axes.fill_between(x, curves.min(0), curves.max(0), color=color, alpha=0.13, lw=0)
            axes.plot(x, curves.T, color=color, lw=0.6, alpha=0.5)
        axes.plot(x, curves.mean(0), color=color, lw=2, label=f"{variant.label} ({len(results)})")
    axes.set_xlim(0, comparison.steps)
    for text in figure.legend(*axes.get_legend_handles_labels(), **LEGEND).get_texts():
        text.set_parse_math(False)
    slug = re.sub(r"\W", "-", env_name)
    return Media(
        f"curves-{slug}-{comparison.slug}.svg", svg(figure), f"{env_name}, {comparison.title}"
    )


def performance_profiles(comparison: Comparison) -> Media:
    """Draw the share of each variant's runs above every human-normalized score, as SVG.

    The share is a mean over envs (Agarwal et al. 2021).
    """
    figure, axes = _score_figure("performance profiles", "share of runs above the score")
    strata = {
        label: list(by_env(normalized(scores, comparison.games)).values())
        for label, scores in comparison.scores.items()
    }
    every = np.concatenate([x for each in strata.values() for x in each])
    thresholds = np.linspace(min(0.0, every.min()), every.max(), 200)
    for color, (label, scores) in zip(itertools.cycle(COLORS), strata.items()):
        profile = performance_profile(scores, thresholds)
        axes.step(thresholds, profile, color=color, lw=2, where="post", label=label)
    axes.set_xlabel("human-normalized score")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_ylim(0, 1)
    for text in figure.legend(*axes.get_legend_handles_labels(), **LEGEND).get_texts():
        text.set_parse_math(False)
    return Media(
        f"profiles-{comparison.slug}.svg", svg(figure), f"performance profiles, {comparison.title}"
    )


def svg(figure: Any) -> bytes:
    """Return a figure as SVG on a transparent ground.

    Equal figures give equal bytes, though a layout is only repeated up to rounding: coordinates are
    in hundredths, and clip paths and markers, which matplotlib names by a digest of all decimals,
    are numbered. Text stays text.
    """
    from matplotlib import rc_context  # slow to import

    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "reverie", "svg.fonttype": "none"}):
        figure.savefig(data, format="svg", metadata={"Date": None}, transparent=True)
    decimals, names = re.compile(rb"\d+\.\d{3,}"), dict[bytes, bytes]()

    def shortened(tag: re.Match[bytes]) -> bytes:
        return decimals.sub(lambda number: b"%.2f" % float(number[0]), tag[0])

    def numbered(name: re.Match[bytes]) -> bytes:
        return names.setdefault(name[0], b"%c%d" % (name[0][0], len(names)))

    text = re.sub(rb"<[^>]*>", shortened, data.getvalue())
    return re.sub(rb"\b[mp][0-9a-f]{10}\b", numbered, text)


def _score_figure(title: str, ylabel: str) -> tuple[Any, Any]:
    """Return a figure and its axes for scores against agent steps."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel("agent steps")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_formatter(lambda x, _: format_count(x))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return figure, axes


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
    codes = net.nearest_code(model.encode(shown)[:, : net.size])
    all_codes = model.encode(obs[:: max(len(obs) // 512, 1)])[:, : net.size]
    by_variance = all_codes.var(0).argsort(descending=True)[:3]
    low, high = all_codes.amin(0), all_codes.amax(0)
    weight = torch.linspace(0, 1, columns, device=model.device)[:, None]
    with seeded(0, model.device):
        samples = net.prior().sample(torch.Size([columns]))
    drawn = {"reconstructed": codes, "sampled": samples}
    for rank, latent in enumerate(by_variance.tolist(), 1):
        traversal = codes[columns // 2].repeat(columns, 1)
        traversal[:, latent] = (low + (high - low) * weight)[:, latent]
        drawn[f"latent {latent}\n(no. {rank} by variance)"] = traversal
    for first, second in ((0, columns - 1), (1, columns // 2)):
        between = codes[first] + (codes[second] - codes[first]) * weight
        drawn[f"from {first + 1}\nto {second + 1}"] = between
    rows = {"observed": net.pixels.inputs(net.prepare(shown))}
    rows |= {label: net.image(z) for label, z in drawn.items()}
    if isinstance(net, ConditionalModel):
        rows["sampled, given\nthe observed"] = net.given(net.prepare(shown)).image(samples)
    aspect = shown.shape[2] / shown.shape[3]
    figure = Figure(figsize=(1.1 * columns + 1.2, 1.1 * aspect * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns)
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image[-1].clamp(0, 1).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[], frame_on=False)
    write_figure(path, figure)
