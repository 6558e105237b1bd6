"""Prediction errors by horizon: k-step predictions from held-out segments against the recording."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from ...world_models.interface import Predictor
from ..datasets.dataset import Recording

HORIZONS = (1, 5, 10, 30, 50, 100)
CONTEXT_LENGTH = 11
"""Observations that a predictor receives before the first prediction, as for recurrent nets."""
MOVING = 10
"""Gray levels from the median frame beyond which a pixel is moving."""
CHUNK = 32
"""Segments per minibatch."""


@dataclass
class PredictionErrors:
    """Sums of squared errors and of pixels, by kind of pixel ("all", "moving"), model, horizon."""

    sums: dict[tuple[str, str, int], float] = field(default_factory=dict)
    counts: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def add(
        self,
        model: str,
        horizon: int,
        predicted: UInt8[Tensor, "B C H W"],
        truth: UInt8[Tensor, "B C H W"],
        median: UInt8[Tensor, "C H W"],
    ) -> None:
        """Add a model's predictions at one horizon."""
        error = (predicted.float() - truth.float()).square().mean(1)
        mask = moving(truth, median) | moving(predicted, median)
        for kind, pixels in (("all", torch.ones_like(mask)), ("moving", mask)):
            key = kind, model, horizon
            self.sums[key] = self.sums.get(key, 0.0) + float((error * pixels).sum())
            self.counts[key] = self.counts.get(key, 0.0) + float(pixels.sum())

    def error(self, kind: str, model: str, horizon: int) -> float:
        """Return the mean squared error per pixel, in squared gray levels."""
        key = kind, model, horizon
        return self.sums[key] / max(self.counts[key], 1.0)

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the errors by kind of pixels, model and horizon."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for kind, model, horizon in self.sums:
            row = table.setdefault(kind, {}).setdefault(model, {})
            row[str(horizon)] = round(self.error(kind, model, horizon), 2)
        return table


@torch.no_grad()
def prediction_errors(
    models: dict[str, Predictor],
    recording: Recording,
    starts: Int64[Tensor, " M"],
    stack: int,
    horizons: tuple[int, ...] = HORIZONS,
) -> PredictionErrors:
    """Return the errors of each model, and of copying the last frame, at each horizon.

    ``starts`` are the rows at which the context segments begin.
    """
    errors, longest = PredictionErrors(), max(horizons)
    channels = recording.frame_shape[0]
    median = median_frame(recording, recording.start_indices("train"))
    for begin in range(0, len(starts), CHUNK):
        rows = starts[begin : begin + CHUNK]
        stride = recording.columns["stride"][rows]
        context = recording.segments(rows, CONTEXT_LENGTH - 1, stack)
        future = rows[:, None] + stride[:, None] * (CONTEXT_LENGTH - 1 + torch.arange(longest + 1))
        actions = recording.columns["action"][future].long()
        truths = {h: recording.frames(future[:, h]) for h in horizons}
        last_frame = context.obs[:, -1, -channels:]
        for h in horizons:
            errors.add("copy-last", h, last_frame, truths[h], median)
        for name, model in models.items():
            carry = model.start(context)
            for t in range(longest):
                action = actions[:, t].to(carry["obs"].device)
                prediction, carry = model.predict(carry, action)
                if t + 1 in horizons:
                    frame = prediction.obs[:, -channels:].cpu()
                    errors.add(name, t + 1, frame, truths[t + 1], median)
    return errors


def moving(
    frames: UInt8[Tensor, "B C H W"], median: UInt8[Tensor, "C H W"]
) -> Bool[Tensor, "B H W"]:
    """Return the mask of pixels more than ``MOVING`` gray levels from the median frame.

    The distance is averaged over channels.
    """
    distance = (frames.float() - median.float()).abs().mean(1)
    return distance > MOVING


def median_frame(recording: Recording, rows: Int64[Tensor, " M"]) -> UInt8[Tensor, "C H W"]:
    """Return the per-pixel median of up to 501 of these frames."""
    return recording.frames(evenly_spaced(rows, 501)).median(0).values


def evenly_spaced(rows: Int64[Tensor, " M"], count: int) -> Int64[Tensor, " m"]:
    """Return up to ``count`` of the rows, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).long()]


def format_table(result: dict[str, Any]) -> str:
    """Return the result of ``compare_predictors`` as a text table."""
    lines = [f"{result['env_name']}, {result['num_segments']} held-out segments; {result['unit']}"]
    for kind, rows in result["errors"].items():
        horizons = list(next(iter(rows.values())))
        lines.append(f"{kind + ' pixels':<32}" + "".join(f"{h + ' steps':>11}" for h in horizons))
        for name, row in rows.items():
            lines.append(f"  {name:<30}" + "".join(f"{row[h]:>11,.1f}" for h in horizons))
    sensitivity = dict(result["action_sensitivity"])
    if sensitivity:
        timesteps, num_starts, spread = (
            sensitivity.pop(name) for name in ("timesteps", "num_starts", "spread")
        )
        lines.append(
            f"the player's row after {timesteps} equal actions, from {num_starts} starts, in "
            f"pixels; different actions lead {spread:.1f} pixels apart"
        )
        for name, row in sensitivity.items():
            cells = [f"lost in {row['lost']:.0%}"]
            if row["lost"] < 1:
                cells = [f"mean error {row['mean']:.2f}", f"median {row['median']:.2f}", *cells]
            lines.append(f"  {name:<30}{', '.join(cells)}")
    return "\n".join(lines)


def plot_prediction_errors(result: dict[str, Any], path: Path) -> None:
    """Plot the errors on all and on moving pixels against the horizon."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (kind, rows) in zip(figure.subplots(1, 2), result["errors"].items(), strict=True):
        for name, row in rows.items():
            style = {"color": "#777777", "linestyle": "--"} if name == "copy-last" else {}
            axes.plot([int(h) for h in row], list(row.values()), marker="o", label=name, **style)
        axes.set_title(f"{result['env_name']}, {kind} pixels", fontsize=10)
        axes.set_xlabel("predicted steps")
        axes.set_ylabel("squared error, gray levels²")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, edgecolor="none")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
