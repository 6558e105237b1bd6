"""Pretraining of predictors, and their comparison by what they predict of held-out episodes.

A predictor makes k-step predictions, k = 1..100, from held-out segments, feeding its predictions
back, and is compared with copying the last frame: by squared errors after a pretraining, by all of
``experiments/dreams`` in `reverie evaluate`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ...envs.atari.atari import AtariConfig
from ...envs.checks import check, within
from ...envs.errors import UsageError
from ...envs.interface import Metrics
from ...world_models.interface import Predictor, PredictorConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.prediction.feedforward import FeedforwardConfig
from ...world_models.prediction.mean_frame import HasMeanFrame
from ..datasets.batches import Batches
from ..datasets.dataset import Recording
from ..datasets.open_loop import (
    CONTEXT_LENGTH,
    HORIZONS,
    dream,
    evenly_spaced,
    median_frame,
    single_steps,
)
from ..datasets.writer import Manifest
from ..dreams.dream_measures import COPY_LAST, measure_dreams, prediction_errors
from ..dreams.prediction_error import plot_prediction_errors
from ..dreams.reward_ranking import ranked_events
from ..evaluation.action_sensitivity import action_sensitivity
from ..evaluation.frame_quality import psnr, ssim
from ..runs.config_differences import config_differences
from ..runs.files import to_json
from ..runs.names import unique_names
from ..runs.outputs import check_writable, reporting_failure, write_or_keep
from ..runs.run import Run
from .prediction_video import write_prediction_video
from .pretrain import Pretraining, load_model


@dataclass(frozen=True)
class PredictorPretraining(Pretraining):
    """Pretraining of a predictor on recorded segments, by the predictor's curriculum."""

    role = "predictor"

    predictor: PredictorConfig = FeedforwardConfig()
    stack: int = 4
    """Frames of an observation."""
    batch_size: int = 0
    """Segments of a minibatch; 0 for the curriculum's number."""
    event_fraction: float = 0.25
    """Fraction of the segments that contain a reward other than 0 or a termination; others are
    drawn uniformly. It learns rare rewards sooner, and overestimates random ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", within(0, 1), "event_fraction")
        if not self.predictor.trainable:
            raise UsageError(
                "predictor:emulator is the env itself and has nothing to learn; choose another "
                "predictor, or give it to an agent: reverie train mpc agent.predictor:emulator."
            )

    def build(
        self, manifest: Manifest, device: torch.device, precision: Precision = FLOAT32
    ) -> Predictor:
        return self.predictor.build(
            obs_shape=manifest.obs_shape(self.stack),
            num_actions=manifest.num_actions,
            channels=manifest.frame_shape[0],
            seed=self.seed,
            device=device,
            precision=precision,
        )

    def prepare(self, model: Predictor, recording: Recording) -> None:
        if isinstance(model, HasMeanFrame):
            rows = evenly_spaced(self.rows(recording, "train"), 1000)
            model.fit_mean(recording.frames(rows))

    def phase(self, model: Predictor) -> tuple[int, int]:
        return model.batch_shape

    def batches(self, recording: Recording, model: Predictor) -> Batches[Any]:
        batch_size, length = model.batch_shape
        rows = self.rows(recording, "train", length=length)
        return Batches(
            rows,
            self.batch_size or batch_size,
            lambda rows: recording.segments(rows, length, self.stack),
            seed=self.seed,
            events=rows[recording.has_event(rows, length)],
            event_fraction=self.event_fraction,
        )

    def evaluate(self, model: Predictor, recording: Recording) -> Metrics:
        """Return the errors after 1 and 10 steps, relative to copying the last frame."""
        horizons = self.feasible_horizons(recording, (1, 10))
        starts = self.held_out_starts(recording, 64, longest=max(horizons))
        truth, dreams = dream({"model": model}, recording, starts, self.stack, horizons)
        median = median_frame(recording, recording.start_indices("train"))
        errors = prediction_errors(truth, dreams, median)
        return {
            f"{kind}_{h}": errors.error(kind, "model", h)
            / (errors.error(kind, COPY_LAST, h) or math.nan)  # where nothing changes
            for kind in ("all", "moving")
            for h in horizons
        }

    def finish(
        self, run: Run, model: Predictor, recording: Recording, device: torch.device
    ) -> None:
        compare_predictors([run.folder], num_segments=100, device=device, errors_only=True)

    def feasible_horizons(self, recording: Recording, horizons: tuple[int, ...]) -> tuple[int, ...]:
        """Return the horizons for which the longest held-out episode is long enough.

        Raises UsageError if there are none.
        """
        longest, context = self._longest_and_context(recording)
        if longest - context < min(horizons):
            raise UsageError(
                f"The held-out episodes of {recording.folders[0]} have one frame, and nothing to "
                "predict; record longer episodes."
            )
        return tuple(h for h in horizons if h <= longest - context)

    def held_out_starts(
        self, recording: Recording, count: int, longest: int
    ) -> Int64[Tensor, " M"]:
        """Return up to ``count`` held-out rows after a whole context, evenly spaced.

        Each has at least ``longest`` more timesteps in its episode.
        """
        return evenly_spaced(self._after_context(recording, longest), count)

    def held_out_steps(self, recording: Recording) -> Int64[Tensor, " M"]:
        """Return the held-out rows before which there is a whole context in the episode."""
        return self._after_context(recording, 1)

    def _after_context(self, recording: Recording, length: int) -> Int64[Tensor, " M"]:
        rows = self.rows(recording, "held-out", length=length)
        _, context = self._longest_and_context(recording)
        return rows[recording.columns["episode_step"][rows] >= context]

    def _longest_and_context(self, recording: Recording) -> tuple[int, int]:
        """Return the timesteps of the longest held-out episode, and those of a whole context.

        A context is at most half of the longest episode.
        """
        rows = self.rows(recording, "held-out")
        longest = int(recording.columns["steps_left"][rows].max())
        return longest, min(CONTEXT_LENGTH - 1, longest // 2)


VIDEO = "videos/imagined.mp4"
"""The video of a run's predictor, below the run's folder."""


def compare_predictors(
    folders: list[Path],
    *,
    num_segments: int = 200,
    horizons: tuple[int, ...] = HORIZONS,
    device: torch.device | str = "auto",
    errors_only: bool = False,
    video: bool = False,
    report: Callable[[str], object] = lambda text: None,
    show: Callable[[dict[str, Any]], object] = lambda result: None,
) -> dict[str, Any]:
    """Return the predictors' measures on the same held-out segments of the first run's recordings.

    With ``errors_only`` that is the squared errors and the effect of actions. Writes
    ``evaluation.json`` and ``figures/prediction_errors.png`` into the first run's folder and, with
    ``video``, ``videos/imagined.mp4`` of each predictor into its own; ``show`` is called with the
    result before that, and ``report`` with what is computed next. Raises UsageError if the runs are
    of different envs or held out different episodes, or if a file could not be written.
    """
    names = unique_names(folders, taken=(COPY_LAST,))
    loaded = {folder: load_model(folder, device=device) for folder in folders}
    first = folders[0]
    for folder, (job, _) in loaded.items():
        if not isinstance(job, PredictorPretraining):
            raise UsageError(
                f"{folder} holds a pretrained {job.model_name}, which is not a predictor; compare "
                "runs of `reverie pretrain predictor:NAME` only."
            )
        if differences := config_differences(_compared(job), _compared(loaded[first][0])):
            raise UsageError(
                f"{folder} and {first} have other envs or held out different episodes "
                f"({'; '.join(differences)}), so one may have been trained on episodes that the "
                "other is evaluated on; give both the same --data, --stack, --held-out and --split."
            )
    job, _ = loaded[first]
    assert isinstance(job, PredictorPretraining)
    run, recording = Run(first), Recording(*job.data)
    table, figure = (run.folder / x for x in ("evaluation.json", "figures/prediction_errors.png"))
    videos = {folder: Run(folder).folder / VIDEO for folder in folders if video}
    check_writable(
        table, figure, *videos.values(), remedy="make the run folder writable, or copy it elsewhere"
    )
    models = {names[folder]: model for folder, (_, model) in loaded.items()}
    horizons = job.feasible_horizons(recording, horizons)
    starts = job.held_out_starts(recording, num_segments, max(horizons))
    median = median_frame(recording, recording.start_indices("train"))
    report(f"{len(starts)} segments of {max(horizons)} steps are predicted")
    truth, dreams = dream(models, recording, starts, job.stack, horizons)
    manifest = recording.manifest
    env = manifest.env
    result: dict[str, Any] = {
        "env_name": env.env_name,
        "protocol": env.protocol_label,
        "frames": len(recording),
        "policy": manifest.policy,
        "num_segments": len(starts),
        "num_updates": {names[folder]: job.num_updates for folder, (job, _) in loaded.items()},
        "unit": "mean squared error per pixel, in squared gray levels",
        "errors": prediction_errors(truth, dreams, median).table(),
        "action_sensitivity": action_sensitivity(
            models, env, median[0], job.stack, context_length=CONTEXT_LENGTH
        ),
    }
    if not errors_only:
        result["predictors"] = {names[x]: job.model_name for x, (job, _) in loaded.items()}
        game = env.game if isinstance(env, AtariConfig) else ""
        quality = {"psnr": psnr, "ssim": ssim}
        result["dreams"] = measure_dreams(
            truth, dreams, median, game=game, quality=quality, report=report
        )
        rows = job.held_out_steps(recording)
        report(f"{len(rows):,} single steps are predicted")
        real = [recording.columns[x][rows].float() for x in ("reward", "discount")]
        result["dreams"]["single_steps"] = {
            name: ranked_events(*single_steps(model, recording, rows, job.stack), *real)
            for name, model in models.items()
        }
    show(result)
    write_or_keep(table, to_json(result, indent=1) + "\n")
    consequence = f"the numbers are complete in {table}"
    with reporting_failure(figure, consequence):
        plot_prediction_errors(result, figure, baseline=COPY_LAST)
    for folder, file in videos.items():
        report(f"{file} is written")
        with reporting_failure(file, consequence):
            write_prediction_video(
                names[folder], models[names[folder]], recording, starts, job.stack, median, file
            )
    return result


def _compared(job: Pretraining) -> dict[str, Any]:
    """Return what two pretrainings must have in common for their models to be compared."""
    recording = Recording(*job.data, cache_bytes=0)
    return {
        "env": recording.env_name,
        "num_actions": recording.num_actions,
        "obs_shape": recording.obs_shape(job.stack),
        "data": recording.folders,
        "held_out": job.held_out,
        "split": job.split,
    }
