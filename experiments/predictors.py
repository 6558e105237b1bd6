"""Pretraining of predictors, and how far into the future they see.

A predictor is asked for what comes 1 to 100 steps after a held-out moment, from its own
predictions, and compared with the last frame it saw. Errors are mean squares in grey levels of
0..255, over all pixels and over *moving* ones: those more than ``MOVING`` levels from the game's
median frame in the truth or in the prediction, so that a ghost costs as much as a loss.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from envs.errors import UsageError
from envs.interface import Metrics
from experiments.pretraining import Pretraining
from experiments.recording import Batches, Recording
from world_models.interface import Predictor, PredictorConfig
from world_models.prediction.feedforward import FeedforwardConfig
from world_models.prediction.predictor import FramePredictor

HORIZONS = (1, 5, 10, 30, 50, 100)
MOVING = 10
CHUNK = 32  # moments that are imagined from at a time
SEEN = 11  # frames a model may see before it imagines: those of the recurrent net


@dataclass(frozen=True)
class PredictorPretraining(Pretraining):
    """A predictor learns from recorded segments, as its curriculum says."""

    predictor: PredictorConfig = FeedforwardConfig()
    stack: int = 4
    """Frames in a look."""
    batch: int = 0
    """Segments in an update; 0 takes what the curriculum says."""

    @property
    def model_name(self) -> str:
        return type(self.predictor).__name__.removesuffix("Config").lower()

    def build(self, recording: Recording, device: torch.device) -> Predictor:
        predictor = self.predictor.build(
            obs_shape=recording.obs_shape(self.stack),
            num_actions=recording.num_actions,
            colours=recording.frame_shape[0],
            seed=self.seed,
            device=device,
        )
        if isinstance(predictor, FramePredictor):
            rows = recording.rows("train", held_out=self.held_out, seed=self.seed)
            predictor.fit_mean(recording.frames(evenly(rows, 1000)))
        return predictor

    def phase(self, model: Predictor) -> tuple[int, int]:
        return model.lesson

    def batches(self, recording: Recording, model: Predictor) -> Batches[Any]:
        batch, ticks = model.lesson
        rows = recording.rows("train", length=ticks, held_out=self.held_out, seed=self.seed)
        return Batches(
            rows,
            self.batch or batch,
            lambda chosen: recording.segments(chosen, ticks, self.stack),
            seed=self.seed,
        )

    def update(self, model: Predictor, batch: Any, device: torch.device) -> Metrics:
        return model.update(batch)

    def evaluate(self, model: Predictor, recording: Recording, device: torch.device) -> Metrics:
        """Errors after 1 and 10 steps, as shares of the last frame's."""
        moments = self.moments(recording, 64, longest=10)
        ahead = look_ahead({"model": model}, recording, moments, self.stack, (1, 10))
        return {
            f"{kind}_{h}": ahead.error(kind, "model", h) / ahead.error(kind, "copy-last", h)
            for kind in ("all", "moving")
            for h in (1, 10)
        }

    def moments(self, recording: Recording, count: int, longest: int) -> Int64[Tensor, " M"]:
        """Held-out rows, evenly spread, at which a segment to be imagined begins."""
        rows = recording.rows(
            "held-out", length=SEEN - 1 + longest, held_out=self.held_out, seed=self.seed
        )
        if not len(rows):
            raise UsageError(
                f"No held-out episode of {recording.folders[0]} has {SEEN + longest} frames; "
                "record longer ones or set more aside (--held-out)."
            )
        return evenly(rows, count)


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
