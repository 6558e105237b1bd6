"""Pretraining of predictors, and how far into the future they see.

A predictor is asked for what comes 1 to 100 steps after a held-out moment, from its own
predictions, and compared with the last frame it saw. Errors are mean squares in grey levels of
0..255, over all pixels and over *moving* ones: those more than ``MOVING`` levels from the game's
median frame in the truth or in the prediction, so that a ghost costs as much as a loss.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ale_py import Action
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.interface import EnvConfig, Metrics
from envs.shadow import Shadow
from experiments.control import control
from experiments.pretraining import Pretraining, load_model
from experiments.recording import Batches, Recording
from experiments.run import Run
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
        horizons = self.within_reach(recording, (1, 10))
        moments = self.moments(recording, 64, longest=max(horizons))
        ahead = look_ahead({"model": model}, recording, moments, self.stack, horizons)
        return {
            f"{kind}_{h}": ahead.error(kind, "model", h) / ahead.error(kind, "copy-last", h)
            for kind in ("all", "moving")
            for h in horizons
        }

    def finish(
        self, run: Run, model: Predictor, recording: Recording, device: torch.device
    ) -> None:
        compare([run.folder], moments=100, device=device)

    def within_reach(self, recording: Recording, horizons: tuple[int, ...]) -> tuple[int, ...]:
        """The horizons that a held-out episode is long enough for; the others are left out."""
        rows = recording.rows("held-out", held_out=self.held_out, seed=self.seed)
        longest = int(recording.columns["left"][rows].max()) - (SEEN - 1)
        if longest < min(horizons):
            raise UsageError(
                f"The held-out episodes of {recording.folders[0]} have {longest + SEEN} frames at "
                f"most, and {SEEN} are seen before one is predicted; record longer ones."
            )
        return tuple(h for h in horizons if h <= longest)

    def moments(self, recording: Recording, count: int, longest: int) -> Int64[Tensor, " M"]:
        """Held-out rows, evenly spread, at which a segment to be imagined begins."""
        rows = recording.rows(
            "held-out", length=SEEN - 1 + longest, held_out=self.held_out, seed=self.seed
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


def compare(
    folders: list[Path],
    *,
    moments: int = 200,
    horizons: tuple[int, ...] = HORIZONS,
    device: torch.device | str = "auto",
    video: bool = False,
) -> dict[str, Any]:
    """Predictors' errors on the same held-out moments of the first run's recordings.

    Writes ``evaluation.json``, ``figures/horizons.png`` and, with ``video``, a film of the first
    run's imagination into its folder. Raises UsageError where the runs are not of one world.
    """
    jobs, models = [], {}
    for folder in folders:
        job, model = load_model(folder, device=device)
        if not isinstance(job, PredictorPretraining):
            raise UsageError(f"{folder} holds no predictor, which cannot be compared with one.")
        jobs.append(job)
        models[folder.name] = model
    first, run = jobs[0], Run(folders[0])
    recording = Recording(*first.data)
    for folder, job in zip(folders, jobs, strict=True):
        one = Recording(*job.data, memory=0)
        same = one.title, one.num_actions, one.obs_shape(job.stack)
        if same != (recording.title, recording.num_actions, recording.obs_shape(first.stack)):
            raise UsageError(
                f"{folder} is of {one.title} with {one.num_actions} actions and looks {same[2]}, "
                f"and {folders[0]} is not; compare predictors of one world and format."
            )
    horizons = first.within_reach(recording, horizons)
    rows = first.moments(recording, moments, max(horizons))
    ahead = look_ahead(models, recording, rows, first.stack, horizons)
    result = {
        "world": recording.title,
        "protocol": recording.manifest.env.protocol_label,
        "frames": len(recording),
        "collected": recording.manifest.policy,
        "moments": len(rows),
        "steps": {folder.name: job.steps for folder, job in zip(folders, jobs, strict=True)},
        "unit": "mean squared error per pixel, in squared grey levels",
        "errors": ahead.table(),
    }
    median = median_frame(recording, recording.rows("train"))[0]
    result["control"] = control(models, recording.manifest.env, median, first.stack, seen=SEEN)
    run.write_json("evaluation.json", result)
    horizon_figure(result, run.folder / "figures" / "horizons.png")
    if video:
        model = models[folders[0].name]
        film(model, recording, rows, first.stack, run.folder / "videos" / "imagined.mp4")
    return result


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
            lines.append(
                f"  {name:<30}mean error {row['mean']:.2f}, median {row['median']:.2f}, "
                f"lost in {row['lost']:.0%}"
            )
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


@torch.no_grad()
def film(
    model: Predictor,
    recording: Recording,
    moments: Int64[Tensor, " M"],
    stack: int,
    path: Path,
    *,
    dreams: int = 3,
    steps: int = 100,
) -> None:
    """Truth, imagination and their difference side by side, with the step and the action."""
    import imageio.v3 as imageio

    colours = recording.frame_shape[0]
    names = action_names(recording.manifest.env, recording.num_actions)
    images = []
    for row in evenly(moments, dreams):
        seen = recording.segments(row[None], SEEN - 1, stack)
        stride = int(recording.columns["stride"][row])
        length = min(steps, int(recording.columns["left"][row]) - (SEEN - 1))
        future = row + stride * (SEEN - 1 + torch.arange(length + 1))
        actions = recording.columns["action"][future].long()
        truth, state = recording.frames(future), model.start(seen)
        for t in range(length):
            action = actions[t : t + 1].to(state["obs"].device)
            prediction, state = model.predict(state, action)
            imagined = prediction.obs[0, -colours:].cpu()
            error = (truth[t + 1].int() - imagined.int()).abs().to(torch.uint8)
            side = torch.cat([truth[t + 1], imagined, error], 2)
            images.append(_captioned(side, f"step {t + 1:>3}  {names[int(actions[t])]}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, np.stack(images), plugin="pyav", codec="libx264", fps=15)


def action_names(env: EnvConfig, num_actions: int) -> list[str]:
    """What the actions are called."""
    if not isinstance(env, AtariConfig):
        return [f"action {action}" for action in range(num_actions)]
    return [Action(value).name for value in Shadow(env.game, env.protocol).actions]


def _captioned(side: UInt8[Tensor, "C H W"], caption: str) -> NDArray[np.uint8]:
    """An image of even sizes, large enough for a person, with a line of text below."""
    from PIL import Image, ImageDraw

    scale = max(1, 200 // side.shape[1])
    pixels = side.permute(1, 2, 0).expand(-1, -1, 3).numpy()
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    height, width = pixels.shape[0] + 16, pixels.shape[1]
    image = Image.new("RGB", (width + width % 2, height + height % 2))
    image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, 0))
    ImageDraw.Draw(image).text((4, pixels.shape[0] + 2), f"truth | imagined | error   {caption}")
    return np.asarray(image)


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
