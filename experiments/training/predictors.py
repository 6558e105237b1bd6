"""Pretraining of predictors, and their comparison by prediction error.

A predictor makes k-step predictions, k = 1..100, from held-out segments, feeding its predictions
back, and is compared with copying the last frame. Errors are mean squares in gray levels of 0..255,
over all pixels and over moving ones: those more than ``MOVING`` levels from the game's median frame
in the truth or in the prediction, so that a false object costs as much as a missing one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.interface import Metrics
from ...world_models.interface import Predictor, PredictorConfig
from ...world_models.prediction.feedforward import FeedforwardConfig
from ...world_models.prediction.frame_predictor import FramePredictor
from ..datasets.batches import Batches
from ..datasets.dataset import Recording
from ..evaluation.action_sensitivity import action_sensitivity
from ..evaluation.prediction_error import (
    CONTEXT_LENGTH,
    HORIZONS,
    evenly_spaced,
    median_frame,
    plot_prediction_errors,
    prediction_errors,
)
from ..evaluation.prediction_video import write_prediction_video
from ..runs.run import Run
from .pretrain import Pretraining, load_model


@dataclass(frozen=True)
class PredictorPretraining(Pretraining):
    """Pretraining of a predictor on recorded segments, by the predictor's curriculum."""

    predictor: PredictorConfig = FeedforwardConfig()
    stack: int = 4
    """Frames of an observation."""
    batch_size: int = 0
    """Segments of a minibatch; 0 for the curriculum's number."""

    @property
    def model_name(self) -> str:
        return type(self.predictor).__name__.removesuffix("Config").lower()

    def build(self, recording: Recording, device: torch.device) -> Predictor:
        predictor = self.predictor.build(
            obs_shape=recording.obs_shape(self.stack),
            num_actions=recording.num_actions,
            channels=recording.frame_shape[0],
            seed=self.seed,
            device=device,
        )
        if isinstance(predictor, FramePredictor):
            rows = recording.start_indices("train", held_out=self.held_out, seed=self.split)
            predictor.fit_mean(recording.frames(evenly_spaced(rows, 1000)))
        return predictor

    def phase(self, model: Predictor) -> tuple[int, int]:
        return model.batch_shape

    def batches(self, recording: Recording, model: Predictor) -> Batches[Any]:
        batch_size, length = model.batch_shape
        starts = recording.start_indices(
            "train", length=length, held_out=self.held_out, seed=self.split
        )
        return Batches(
            starts,
            self.batch_size or batch_size,
            lambda rows: recording.segments(rows, length, self.stack),
            seed=self.seed,
        )

    def update(self, model: Predictor, batch: Any, device: torch.device) -> Metrics:
        return model.update(batch)

    def evaluate(self, model: Predictor, recording: Recording, device: torch.device) -> Metrics:
        """Return the errors after 1 and 10 steps, relative to copying the last frame."""
        horizons = self.feasible_horizons(recording, (1, 10))
        starts = self.held_out_starts(recording, 64, longest=max(horizons))
        errors = prediction_errors({"model": model}, recording, starts, self.stack, horizons)
        return {
            f"{kind}_{h}": errors.error(kind, "model", h) / errors.error(kind, "copy-last", h)
            for kind in ("all", "moving")
            for h in horizons
        }

    def finish(
        self, run: Run, model: Predictor, recording: Recording, device: torch.device
    ) -> None:
        compare_predictors([run.folder], num_segments=100, device=device)

    def feasible_horizons(self, recording: Recording, horizons: tuple[int, ...]) -> tuple[int, ...]:
        """Return the horizons for which the longest held-out episode is long enough.

        Raises UsageError if there are none.
        """
        rows = recording.start_indices("held-out", held_out=self.held_out, seed=self.split)
        longest = int(recording.columns["steps_left"][rows].max()) - (CONTEXT_LENGTH - 1)
        if longest < min(horizons):
            raise UsageError(
                f"The held-out episodes of {recording.folders[0]} have at most "
                f"{longest + CONTEXT_LENGTH} frames, and a predictor's context has "
                f"{CONTEXT_LENGTH}; record longer episodes."
            )
        return tuple(h for h in horizons if h <= longest)

    def held_out_starts(
        self, recording: Recording, count: int, longest: int
    ) -> Int64[Tensor, " M"]:
        """Return up to ``count`` held-out rows at which context segments begin, evenly spaced."""
        rows = recording.start_indices(
            "held-out",
            length=CONTEXT_LENGTH - 1 + longest,
            held_out=self.held_out,
            seed=self.split,
        )
        return evenly_spaced(rows, count)


def compare_predictors(
    folders: list[Path],
    *,
    num_segments: int = 200,
    horizons: tuple[int, ...] = HORIZONS,
    device: torch.device | str = "auto",
    video: bool = False,
) -> dict[str, Any]:
    """Return the predictors' errors on the same held-out segments of the first run's recordings.

    Writes ``evaluation.json``, ``figures/prediction_errors.png`` and, with ``video``,
    ``videos/imagined.mp4`` of the first run's predictor into its folder. Raises UsageError if the
    runs are of different envs or held out different episodes.
    """
    jobs, models = [], {}
    names = _model_names(folders)
    for folder in folders:
        job, model = load_model(folder, device=device)
        if not isinstance(job, PredictorPretraining):
            raise UsageError(
                f"{folder} holds a pretrained {job.model_name}, which is not a predictor; compare "
                "runs of `reverie pretrain predictor:NAME` only."
            )
        jobs.append(job)
        models[names[folder]] = model
    first_job, first_run = jobs[0], Run(folders[0])
    recording = Recording(*first_job.data)
    for folder, job in zip(folders, jobs, strict=True):
        _check_comparable(folders[0], first_job, recording, folder, job)
    horizons = first_job.feasible_horizons(recording, horizons)
    starts = first_job.held_out_starts(recording, num_segments, max(horizons))
    errors = prediction_errors(models, recording, starts, first_job.stack, horizons)
    result = {
        "env_name": recording.env_name,
        "protocol": recording.manifest.env.protocol_label,
        "frames": len(recording),
        "policy": recording.manifest.policy,
        "num_segments": len(starts),
        "num_updates": {
            names[folder]: job.num_updates for folder, job in zip(folders, jobs, strict=True)
        },
        "unit": "mean squared error per pixel, in squared gray levels",
        "errors": errors.table(),
    }
    median = median_frame(recording, recording.start_indices("train"))[0]
    result["action_sensitivity"] = action_sensitivity(
        models,
        recording.manifest.env,
        median,
        first_job.stack,
        context_length=CONTEXT_LENGTH,
    )
    first_run.write_json("evaluation.json", result)
    plot_prediction_errors(result, first_run.folder / "figures" / "prediction_errors.png")
    if video:
        model = models[names[folders[0]]]
        path = first_run.folder / "videos" / "imagined.mp4"
        write_prediction_video(model, recording, starts, first_job.stack, path)
    return result


def _check_comparable(
    first_folder: Path,
    first_job: PredictorPretraining,
    first: Recording,
    folder: Path,
    job: PredictorPretraining,
) -> None:
    """Raise UsageError if a run is of another env than the first, or held out other episodes."""
    recording = Recording(*job.data, cache_bytes=0)
    kind = recording.env_name, recording.num_actions, recording.obs_shape(job.stack)
    first_kind = first.env_name, first.num_actions, first.obs_shape(first_job.stack)
    if kind != first_kind:
        raise UsageError(
            f"{folder} is of {kind[0]} with {kind[1]} actions and observations {kind[2]}, and "
            f"{first_folder} of {first_kind[0]} with {first_kind[1]} actions and observations "
            f"{first_kind[2]}; compare predictors of the same env and frame format."
        )
    held_out = recording.folders, job.held_out, job.split
    if held_out != (first.folders, first_job.held_out, first_job.split):
        raise UsageError(
            f"{folder} and {first_folder} held out different episodes, so one may have been "
            "trained on episodes that the other is evaluated on; give both the same --data, "
            "--held-out and --split."
        )


def _model_names(folders: list[Path]) -> dict[Path, str]:
    """Return a name per folder: the folder's name, or its path if two names are equal."""
    unique = len({folder.name for folder in folders}) == len(folders)
    return {folder: folder.name if unique else str(folder) for folder in folders}
