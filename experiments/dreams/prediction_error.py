"""Prediction errors: mean squared differences of predicted and recorded frames, by horizon.

Errors are in squared gray levels of 0..255, over all pixels and over moving ones: those more than
``MOVING`` levels from the game's median frame in the truth or in the prediction, so that a false
object costs as much as a missing one.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from ..runs.files import write_figure

MOVING = 10
"""Gray levels from the median frame beyond which a pixel is moving."""
CHUNK = 32
"""Frames compared at once."""


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
        for x, y in zip(torch.split(predicted, CHUNK), torch.split(truth, CHUNK), strict=True):
            error = (x.double() - y.double()).square().mean(1)
            mask = moving(y, median) | moving(x, median)
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


def moving(
    frames: UInt8[Tensor, "B C H W"], median: UInt8[Tensor, "C H W"]
) -> Bool[Tensor, "B H W"]:
    """Return the mask of pixels more than ``MOVING`` gray levels from the median frame.

    The distance is averaged over channels.
    """
    return (frames.float() - median.float()).abs().mean(1) > MOVING


def plot_prediction_errors(result: dict[str, Any], path: Path, baseline: str) -> None:
    """Plot the errors on all and on moving pixels against the horizon, the baseline's dashed."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (kind, rows) in zip(figure.subplots(1, 2), result["errors"].items(), strict=True):
        for name, row in rows.items():
            style = {"color": "#777777", "linestyle": "--"} if name == baseline else {}
            label = name.replace("$", r"\$")  # which would begin a formula
            axes.plot([int(h) for h in row], list(row.values()), marker="o", label=label, **style)
        axes.set_title(f"{result['env_name']}, {kind} pixels", fontsize=10)
        axes.set_xlabel("predicted steps")
        axes.set_ylabel("squared error, gray levels²")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, edgecolor="none")
    write_figure(path, figure, dpi=130)
