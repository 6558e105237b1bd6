"""Pretraining of predictors, and how far into the future they see.

A predictor is asked for what comes 1 to 100 steps after a held-out moment, from its own
predictions, and compared with the last frame it saw. Errors are mean squares in grey levels of
0..255, over all pixels and over *moving* ones: those more than ``MOVING`` levels from the game's
median frame in the truth or in the prediction, so that a ghost costs as much as a loss.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from envs.errors import UsageError
from envs.interface import Metrics
from experiments.batches import Batches
from experiments.control import control
from experiments.films import film
from experiments.horizons import HORIZONS, SEEN, evenly, horizon_figure, look_ahead, median_frame
from experiments.pretraining import Pretraining, load_model
from experiments.recording import Recording
from experiments.run import Run
from world_models.interface import Predictor, PredictorConfig
from world_models.prediction.feedforward import FeedforwardConfig
from world_models.prediction.predictor import FramePredictor


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
            rows = recording.rows("train", held_out=self.held_out, seed=self.split)
            predictor.fit_mean(recording.frames(evenly(rows, 1000)))
        return predictor

    def phase(self, model: Predictor) -> tuple[int, int]:
        return model.lesson

    def batches(self, recording: Recording, model: Predictor) -> Batches[Any]:
        batch, ticks = model.lesson
        rows = recording.rows("train", length=ticks, held_out=self.held_out, seed=self.split)
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
        rows = recording.rows("held-out", held_out=self.held_out, seed=self.split)
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
            "held-out", length=SEEN - 1 + longest, held_out=self.held_out, seed=self.split
        )
        return evenly(rows, count)


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
    run's imagination into its folder. Raises UsageError where the runs are not of one world, or
    did not set the same episodes aside.
    """
    jobs, models = [], {}
    names = _names(folders)
    for folder in folders:
        job, model = load_model(folder, device=device)
        if not isinstance(job, PredictorPretraining):
            raise UsageError(f"{folder} holds no predictor, which cannot be compared with one.")
        jobs.append(job)
        models[names[folder]] = model
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
        apart = one.folders, job.held_out, job.split
        if apart != (recording.folders, first.held_out, first.split):
            raise UsageError(
                f"{folder} and {folders[0]} did not set the same episodes aside, so one may have "
                "learned from what the other is asked; give both the same --data, --held-out and "
                "--split."
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
        "steps": {names[folder]: job.steps for folder, job in zip(folders, jobs, strict=True)},
        "unit": "mean squared error per pixel, in squared grey levels",
        "errors": ahead.table(),
    }
    median = median_frame(recording, recording.rows("train"))[0]
    result["control"] = control(models, recording.manifest.env, median, first.stack, seen=SEEN)
    run.write_json("evaluation.json", result)
    horizon_figure(result, run.folder / "figures" / "horizons.png")
    if video:
        model = models[names[folders[0]]]
        film(model, recording, rows, first.stack, run.folder / "videos" / "imagined.mp4")
    return result


def _names(folders: list[Path]) -> dict[Path, str]:
    """What models are called: their folders' names, or paths where two have one name."""
    unique = len({folder.name for folder in folders}) == len(folders)
    return {folder: folder.name if unique else str(folder) for folder in folders}
