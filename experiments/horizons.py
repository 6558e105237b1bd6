"""How far into the future predictors see: errors by horizon on held-out moments."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from experiments.recording import Recording
from world_models.interface import Predictor

HORIZONS = (1, 5, 10, 30, 50, 100)


MOVING = 10


CHUNK = 32  # moments that are imagined from at a time


SEEN = 11  # frames a model may see before it imagines: those of the recurrent net


@dataclass
class Ahead:
    """Summed squared errors and pixels of each model and horizon."""

    sums: dict[tuple[str, str, int], float] = field(default_factory=dict)
    counts: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def add(
        self,
        model: str,
        horizon: int,
        imagined: UInt8[Tensor, "B C H W"],
        truth: UInt8[Tensor, "B C H W"],
        median: UInt8[Tensor, "C H W"],
    ) -> None:
        """Add one horizon of some moments."""
        error = (imagined.float() - truth.float()).square().mean(1)
        mask = moving(truth, median) | moving(imagined, median)
        for kind, pixels in (("all", torch.ones_like(mask)), ("moving", mask)):
            key = kind, model, horizon
            self.sums[key] = self.sums.get(key, 0.0) + float((error * pixels).sum())
            self.counts[key] = self.counts.get(key, 0.0) + float(pixels.sum())

    def error(self, kind: str, model: str, horizon: int) -> float:
        """Mean squared error per pixel, in squared grey levels."""
        key = kind, model, horizon
        return self.sums[key] / max(self.counts[key], 1.0)

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        """By kind of pixels, model and horizon."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for kind, model, horizon in self.sums:
            row = table.setdefault(kind, {}).setdefault(model, {})
            row[str(horizon)] = round(self.error(kind, model, horizon), 2)
        return table


def moving(
    frames: UInt8[Tensor, "B C H W"], median: UInt8[Tensor, "C H W"]
) -> Bool[Tensor, "B H W"]:
    """Pixels more than ``MOVING`` levels from the median frame, averaged over colours."""
    distance = (frames.float() - median.float()).abs().mean(1)
    return distance > MOVING


def median_frame(recording: Recording, rows: Int64[Tensor, " M"]) -> UInt8[Tensor, "C H W"]:
    """The per-pixel median of up to 501 of these frames."""
    return recording.frames(evenly(rows, 501)).median(0).values


def evenly(rows: Int64[Tensor, " M"], count: int) -> Int64[Tensor, " m"]:
    """Up to ``count`` of the rows, evenly spread."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).long()]


@torch.no_grad()
def look_ahead(
    models: dict[str, Predictor],
    recording: Recording,
    moments: Int64[Tensor, " M"],
    stack: int,
    horizons: tuple[int, ...] = HORIZONS,
) -> Ahead:
    """Each model's errors at each horizon, and the last frame's, on the same moments."""
    ahead, longest = Ahead(), max(horizons)
    median = median_frame(recording, recording.rows("train"))
    for begin in range(0, len(moments), CHUNK):
        rows = moments[begin : begin + CHUNK]
        stride = recording.columns["stride"][rows]
        seen = recording.segments(rows, SEEN - 1, stack)
        future = rows[:, None] + stride[:, None] * (SEEN - 1 + torch.arange(longest + 1))
        actions = recording.columns["action"][future].long()
        truths = {h: recording.frames(future[:, h]) for h in horizons}
        now = seen.obs[:, -1, -recording.frame_shape[0] :]
        for h in horizons:
            ahead.add("copy-last", h, now, truths[h], median)
        for name, model in models.items():
            state = model.start(seen)
            for t in range(longest):
                step = actions[:, t].to(state["obs"].device)
                prediction, state = model.predict(state, step)
                if t + 1 in horizons:
                    frame = prediction.obs[:, -recording.frame_shape[0] :].cpu()
                    ahead.add(name, t + 1, frame, truths[t + 1], median)
    return ahead


def shown(result: dict[str, Any]) -> str:
    """The table as a person reads it."""
    lines = [f"{result['world']}, {result['moments']} held-out moments; {result['unit']}"]
    for kind, rows in result["errors"].items():
        horizons = list(next(iter(rows.values())))
        lines.append(f"{kind + ' pixels':<32}" + "".join(f"{h + ' steps':>11}" for h in horizons))
        for name, row in rows.items():
            lines.append(f"  {name:<30}" + "".join(f"{row[h]:>11,.1f}" for h in horizons))
    held = dict(result["control"])
    if held:
        steps, starts, reach = (held.pop(name) for name in ("steps", "starts", "reach"))
        lines.append(
            f"the player's row after {steps} equal actions, from {starts} starts, in pixels; "
            f"the actions lead {reach:.1f} apart"
        )
        for name, row in held.items():
            said = [f"lost in {row['lost']:.0%}"]
            if row["lost"] < 1:
                said = [f"mean error {row['mean']:.2f}", f"median {row['median']:.2f}", *said]
            lines.append(f"  {name:<30}{', '.join(said)}")
    return "\n".join(lines)


def horizon_figure(result: dict[str, Any], path: Path) -> None:
    """Errors against the horizon, over all pixels and over moving ones."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (kind, rows) in zip(figure.subplots(1, 2), result["errors"].items(), strict=True):
        for name, row in rows.items():
            style = {"color": "#777777", "linestyle": "--"} if name == "copy-last" else {}
            axes.plot([int(h) for h in row], list(row.values()), marker="o", label=name, **style)
        axes.set_title(f"{result['world']}, {kind} pixels", fontsize=10)
        axes.set_xlabel("imagined steps")
        axes.set_ylabel("squared error, grey levels²")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, edgecolor="none")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
