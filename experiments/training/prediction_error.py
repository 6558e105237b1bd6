"""Prediction errors by horizon: k-step predictions from held-out segments against the recording."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from ...world_models.interface import Predictor
from ..datasets.dataset import Recording
from ..evaluation.action_sensitivity import COPY_LAST

HORIZONS = (1, 5, 10, 30, 50, 100)
CONTEXT_LENGTH = 11
"""Observations that a predictor receives before the first prediction, as for recurrent nets."""
MOVING = 10
"""Gray levels from the median frame beyond which a pixel is moving."""
CHUNK = 32
"""Segments per minibatch."""


class PredictionErrors:
    """Mean squared errors per pixel, in squared gray levels, over all and over moving pixels."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, str, int], Tensor] = {}
        """Sums of the squared errors and of the pixels, by kind of pixel, model and horizon."""

    def add(
        self,
        model: str,
        horizon: int,
        predicted: UInt8[Tensor, "B C H W"],
        truth: UInt8[Tensor, "B C H W"],
        median: UInt8[Tensor, "C H W"],
    ) -> None:
        """Add a model's predictions at one horizon."""
        error = (predicted.double() - truth.double()).square().mean(1)
        mask = moving(truth, median) | moving(predicted, median)
        for kind, pixels in (("all", torch.ones_like(mask)), ("moving", mask)):
            total = torch.stack([(error * pixels).sum(), pixels.sum()])
            key = kind, model, horizon
            self.totals[key] = self.totals.get(key, 0.0) + total

    def error(self, kind: str, model: str, horizon: int) -> float:
        """Return the error over one kind of pixels, "all" or "moving"."""
        error, pixels = map(float, self.totals[kind, model, horizon])
        return error / max(pixels, 1.0)

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the errors by kind of pixels, model and horizon."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for kind, model, horizon in self.totals:
            row = table.setdefault(kind, {}).setdefault(model, {})
            row[str(horizon)] = round(self.error(kind, model, horizon), 2)
        return table


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
    median = median_frame(recording, recording.start_indices("train"))
    for rows in torch.split(starts, CHUNK):
        future = future_rows(recording, rows, longest)
        truths = {h: recording.frames(future[:, h]) for h in (0, *horizons)}
        for h in horizons:
            errors.add(COPY_LAST, h, truths[0], truths[h], median)
        for name, model in models.items():
            rollout = predicted_frames(model, recording, rows, stack, longest)
            for h, predicted in enumerate(rollout, 1):
                if h in horizons:
                    errors.add(name, h, predicted, truths[h], median)
    return errors


def future_rows(
    recording: Recording, rows: Int64[Tensor, " B"], num_steps: int
) -> Int64[Tensor, "B T"]:
    """Return the rows from the last of each context segment to ``num_steps`` after it."""
    ahead = CONTEXT_LENGTH - 1 + torch.arange(num_steps + 1)
    return rows[:, None] + recording.columns["stride"][rows][:, None] * ahead


@torch.no_grad()
def predicted_frames(
    model: Predictor, recording: Recording, rows: Int64[Tensor, " B"], stack: int, num_steps: int
) -> Iterator[UInt8[Tensor, "B C H W"]]:
    """Yield the frames predicted after the context segments at ``rows``, for recorded actions."""
    context = recording.segments(rows, CONTEXT_LENGTH - 1, stack)
    carry = model.start(context.obs, context.action, context.first)
    future = future_rows(recording, rows, num_steps)[:, :-1]
    for action in recording.columns["action"][future].long().to(carry["obs"].device).unbind(1):
        prediction, carry = model.predict(carry, action)
        yield prediction.obs[:, -recording.frame_shape[0] :].cpu()


def moving(
    frames: UInt8[Tensor, "B C H W"], median: UInt8[Tensor, "C H W"]
) -> Bool[Tensor, "B H W"]:
    """Return the mask of pixels more than ``MOVING`` gray levels from the median frame.

    The distance is averaged over channels.
    """
    return (frames.float() - median.float()).abs().mean(1) > MOVING


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
    if sensitivity := result["action_sensitivity"]:
        lines.append(
            f"the player's row after {sensitivity['timesteps']} equal actions, from "
            f"{sensitivity['num_starts']} starts, in pixels; different actions lead "
            f"{sensitivity['spread']:.1f} pixels apart"
        )
        for name, row in sensitivity["errors"].items():
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
            style = {"color": "#777777", "linestyle": "--"} if name == COPY_LAST else {}
            label = name.replace("$", r"\$")  # which would begin a formula
            axes.plot([int(h) for h in row], list(row.values()), marker="o", label=label, **style)
        axes.set_title(f"{result['env_name']}, {kind} pixels", fontsize=10)
        axes.set_xlabel("predicted steps")
        axes.set_ylabel("squared error, gray levels²")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, edgecolor="none")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
