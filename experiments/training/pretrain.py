"""Pretraining of a model on recordings, without an agent.

What all models share is here: batches, evaluation on held-out episodes, and the process that the
driver runs. Each role adds a subclass of ``Pretraining`` and an entry of
``PRETRAININGS`` in ``config/registry.py``.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from ...envs.checks import at_least, check, refuse, within
from ...envs.errors import UsageError
from ...envs.interface import Metrics, Stateful
from ...world_models.precision import FLOAT32, Precision
from ..config.experiment import Job
from ..config.roles import entry_config, part_name, roles
from ..config.run_names import changes
from ..config.serialization import encode, read_job
from ..datasets.batches import Batches
from ..datasets.dataset import Recording, Split
from ..datasets.writer import Manifest
from ..runs.config_differences import config_differences
from ..runs.part_errors import building, loading
from ..runs.run import Run
from ..runs.runtime import Runtime, pick_device
from ..runs.state_checks import check_count, restore
from ..sessions import random_state
from ..sessions.callbacks import Callback
from ..sessions.driver import Process, drive
from ..sessions.event_log import EventLog
from ..sessions.options import PretrainOptions
from ..sessions.progress import Display
from ..sessions.throughput import Throughput
from .logs import Means, MetricsLog


@dataclass(frozen=True)
class Pretraining(Job):
    """Base of every pretraining: a model, its recordings and the length of training."""

    unit = "update"
    length_field = "num_updates"
    role: ClassVar[str]
    """Name of the field with the model's config, as in the configs of agents."""

    data: tuple[Path, ...] = ()
    """Folders of recordings of one env."""
    seed: int = 0
    """Seed of the model's weights and of its batches."""
    num_updates: int = 20_000
    """Gradient steps."""
    minutes: float = 0.0
    """Minutes of updates after which it ends before that, not counting evaluations; 0 for no
    limit. Of models that are to be compared, each gets the same."""
    batch_size: int = 32
    """Observations per gradient step."""
    held_out: float = 0.1
    """Fraction of the frames that is held out, by whole episodes."""
    split: int = 0
    """Seed of the split into training and held-out episodes; equal for models to be compared."""
    init_from: Path | None = None
    """Run of `reverie pretrain` of an equal model to go on from, on other recordings."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "num_updates")
        check(self, "", at_least(0), "minutes")
        check(self, "", within(0, 2**63 - 1), "seed", "split")
        if not 0 < self.held_out < 1:
            refuse(self, "", "held_out", "above 0 and below 1")

    stack: int = 1
    """Frames of an observation, as in the agent's protocol."""

    @property
    def manifest(self) -> Manifest:
        """The description of the first recording; raises UsageError if there is none."""
        if not self.data:
            raise UsageError("Name a recording to learn from: --data FOLDER.")
        return Manifest.read(self.data[0])

    @property
    def part(self) -> Any:
        """Config of the model."""
        return getattr(self, self.role)

    @property
    def model_name(self) -> str:
        """Name of the model in the default run folder."""
        return part_name(self.part)

    @property
    def default_folder(self) -> Path:
        """runs/pretrain-MODEL-ENV-sSEED, with the settings that are not the usual ones."""
        env_name = Recording(*self.data, cache_bytes=0).env_name
        default = replace(type(self)(), data=self.data, seed=self.seed, minutes=self.minutes)
        table = dict(roles(self))[self.role]
        usual = entry_config(table.get(self.model_name, type(self.part)))
        default = replace(default, **{self.role: usual})
        parts = ["pretrain", self.model_name, env_name, f"s{self.seed}"]
        label = changes(default, self, env_name)
        return Path("runs") / "-".join(filter(None, [*parts, label]))

    def rows(self, recording: Recording, split: Split, *, length: int = 0) -> Int64[Tensor, " M"]:
        """Return the rows of a split with at least ``length`` more timesteps in their episode."""
        return recording.start_indices(
            split, length=length, held_out=self.held_out, seed=self.split
        )

    def build(
        self, manifest: Manifest, device: torch.device, precision: Precision = FLOAT32
    ) -> Stateful:
        """Return the untrained model for the frames that a manifest describes."""
        raise NotImplementedError

    def prepare(self, model: Any, recording: Recording) -> None:
        """Fit what is no parameter of a new model to its recording; by default nothing."""

    def batches(self, recording: Recording, model: Any) -> Batches[Any]:
        """Return the training batches for the model's current phase."""
        raise NotImplementedError

    def phase(self, model: Any) -> Any:
        """Return the model's phase of a curriculum; batches are rebuilt when it changes."""
        return None

    def is_complete(self, model: Any, batches: Batches[Any]) -> bool:
        """Return whether the model has learned all that it can from the recordings."""
        return False

    def update(self, model: Any, batch: Any) -> Metrics:
        """Make one gradient step, and return its metrics."""
        metrics: Metrics = model.update(batch)
        return {x if "/" in x else f"{self.role}/{x}": value for x, value in metrics.items()}

    def evaluate(self, model: Any, recording: Recording) -> Metrics:
        """Return quick metrics on held-out episodes, to be logged as ``eval/NAME``."""
        raise NotImplementedError

    def finish(self, run: Run, model: Any, recording: Recording, device: torch.device) -> None:
        """Write figures and tables of the trained model; repeated if the process was killed."""


def pretrain(
    job: Pretraining,
    folder: Path | str,
    options: PretrainOptions = PretrainOptions(),  # noqa: B008  # frozen
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Pretrain, or continue pretraining, in a run folder; return the run.

    Raises UsageError for invalid input, and NumericalError, which names the update, if a metric or
    the model is no longer finite at a row or checkpoint; the last checkpoint is kept.
    """
    return drive(ModelTraining, job, folder, options, callbacks)


def load_model(
    folder: Path | str, *, device: torch.device | str = "auto", precision: Precision = FLOAT32
) -> tuple[Pretraining, Any]:
    """Return a pretraining and its model as of the last checkpoint.

    Raises UsageError if the folder holds no pretraining or no checkpoint.
    """
    run, device = Run(folder), pick_device(device)
    job = read_job(folder)
    if not isinstance(job, Pretraining):
        raise UsageError(f"{folder} is no pretraining; name a run of `reverie pretrain`.")
    with loading(run.folder):
        state = run.checkpoints.load(lambda state: {"model": state["model"]})
    if state is None:
        raise UsageError(f"{folder} has no checkpoint yet; pretrain it first.")
    with building("model"):
        model = job.build(job.manifest, device, precision)
    with loading(run.folder):
        model.load_state_dict(state["model"])
    return job, model


class ModelTraining(Process):
    """The process of pretraining: updates of a model by minibatches of a recording."""

    job: Pretraining
    options: PretrainOptions

    def __init__(
        self,
        job: Pretraining,
        options: PretrainOptions,
        run: Run,
        runtime: Runtime,
        resources: ExitStack,
    ) -> None:
        super().__init__(job, options, run, runtime, resources)
        random_state.seed_all(job.seed)
        self.recording = Recording(*job.data, cache_bytes=options.memory_gb * 1e9)
        env = self.recording.manifest.env
        self.about = {"protocol": env.protocol_label, "env_name": env.env_name}
        with building("model"):
            self.model: Any = job.build(self.recording.manifest, runtime.device, runtime.precision)
        job.prepare(self.model, self.recording)
        self.batches, self.phase = job.batches(self.recording, self.model), job.phase(self.model)
        limit = f" in at most {job.minutes:g} minutes" if job.minutes else ""
        self.title = (
            f"{job.model_name} on {len(self.recording):,} frames of {env.env_name}, "
            f"{job.num_updates:,} updates{limit} with batches of {self.batches.batch_size}"
        )
        self.seconds = 0.0
        """Duration of the updates so far."""
        self.latest: Metrics = {}
        """Metrics of the latest update."""
        self.held_out = HeldOutMetrics(self)
        self.callbacks = [
            Means(),
            self.held_out,
            Throughput("updates_per_second"),
            EventLog(run.folder, self.hyperparameters),
            MetricsLog(run),
            Display(job, self.status, self.signals, quiet=options.quiet),
        ]

    def start(self) -> None:
        if (folder := self.job.init_from) is None:
            return
        job, state = read_job(folder), Run(folder).checkpoints.load()
        same = {"model": encode(self.job.part), "obs_shape": self.obs_shape}
        if not isinstance(job, Pretraining) or state is None:
            raise UsageError(
                f"init_from is {folder}, which holds no pretrained model; name a run of `reverie "
                "pretrain`."
            )
        theirs = {"model": encode(job.part), "obs_shape": tuple(state["recording"]["obs_shape"])}
        if differences := config_differences(theirs, same):
            raise UsageError(
                f"init_from is {folder}, which holds another model ({'; '.join(differences)}); "
                "give both the same settings."
            )
        with loading(folder):
            restore(self.model, state["model"], "model")
        self._follow_curriculum()

    @property
    def parts(self) -> dict[str, Stateful]:
        return {"model": self.model}

    @property
    def obs_shape(self) -> tuple[int, int, int]:
        """The shape (K, H, W) of the observations that the model learns from."""
        return self.recording.obs_shape(self.job.stack)

    @property
    def is_done(self) -> bool:
        time_is_up = 0 < 60 * self.job.minutes <= self.seconds
        return super().is_done or time_is_up or self.job.is_complete(self.model, self.batches)

    def iterate(self) -> Iterator[tuple[None, Metrics]]:
        while True:
            begin = time.perf_counter()
            self._follow_curriculum()
            self.latest = self.job.update(self.model, next(self.batches))
            self.seconds += time.perf_counter() - begin
            self.step += 1
            self.frames += self.batches.batch_size
            yield None, self.latest

    def status(self) -> tuple[int, Sequence[str]]:
        """Return the present update, and its loss with the newest held-out metrics, as texts."""
        losses = [name for name in self.latest if name.endswith("/loss")]
        name = next(iter([*losses, *self.latest]), "loss")
        loss = f"{name.rpartition('/')[2]} {float(self.latest.get(name, math.nan)):.4g}"
        held_out = [f"{name} {float(x):.3g}" for name, x in self.held_out.latest.items()]
        return self.step, (", ".join([loss, *held_out]), ", ".join([loss, *held_out[:1]]), loss)

    def _follow_curriculum(self) -> None:
        """Rebuild the batches if the model has reached another phase."""
        if (phase := self.job.phase(self.model)) != self.phase:
            self.batches, self.phase = self.job.batches(self.recording, self.model), phase

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "batches": self.batches.state_dict(),
            "frames": self.frames,
            "seconds": self.seconds,
            "recording": {  # for an agent that starts from the model
                "env_name": self.recording.env_name,
                "frames": len(self.recording),
                "obs_shape": self.obs_shape,
                "num_actions": self.recording.num_actions,
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.frames, self.seconds = check_count(state["frames"], "frames"), state["seconds"]
        restore(self.model, state["model"], "model")
        self._follow_curriculum()
        restore(self.batches, state["batches"], "batches")


class HeldOutMetrics(Callback):
    """Metrics on held-out episodes in every row, and the figures and tables of a finished run."""

    def __init__(self, training: ModelTraining) -> None:
        self.training = training
        self.latest: Metrics = {}

    def metrics(self) -> Metrics:
        if not self.latest:
            self.training.tell("Evaluating on held-out episodes, as before each row of metrics.")
        held_out = self.training.job.evaluate(self.training.model, self.training.recording)
        self.latest = {f"eval/{name}": x for name, x in held_out.items()}
        return self.latest

    def on_end(self, step: int) -> None:
        training = self.training
        if training.run.finished:
            run, device = training.run, training.runtime.device
            training.tell("Writing the figures and tables of held-out episodes.")
            training.job.finish(run, training.model, training.recording, device)
