"""Pretraining of a model on recordings, without an agent.

The parts that all models share are here: batches, progress, checkpoints, evaluation on held-out
episodes, and exact resumption. Each role adds a subclass of ``Pretraining`` and an entry of
``PRETRAININGS`` in ``config/registry.py``.
"""

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...envs.checks import at_least, check, refuse, within
from ...envs.errors import NumericalError, UsageError
from ...envs.interface import Metrics, Stateful
from ...world_models.precision import Precision, PrecisionConfig, use_precision
from ..config.experiment import Job, read_job
from ..datasets.batches import Batches
from ..datasets.dataset import Recording
from ..runs.checkpoints import report_full_disk
from ..runs.provenance import provenance
from ..runs.run import Run, building, loading
from ..runs.runtime import interrupts, keep_freed_memory, pick_device, pick_threads
from ..runs.serialization import encode
from .metrics import Log, Means
from .progress import Display
from .throughput import without_machine_metrics

MODEL_FILE = "model.pt"
"""File of the model in the last checkpoint, without the state of its training."""
FINISHED_FILE = "finished"
"""File that holds the number of updates for which figures and tables were made."""


@dataclass(frozen=True)
class Pretraining(Job):
    """Base of every pretraining: a model, its recordings and the length of training."""

    data: tuple[str, ...] = ()
    """Folders of recordings of one env."""
    seed: int = 0
    num_updates: int = 20_000
    """Gradient steps."""
    batch_size: int = 32
    held_out: float = 0.1
    """Fraction of the frames that is held out, by whole episodes."""
    split: int = 0
    """Seed of the split into training and held-out episodes; equal for models to be compared."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "num_updates")
        check(self, "", within(0, 2**63 - 1), "seed", "split")
        if not 0 < self.held_out < 1:
            refuse(self, "", "held_out", "above 0 and below 1")

    @property
    def model_name(self) -> str:
        """Name of the model in the default run folder."""
        raise NotImplementedError

    def build(self, recording: Recording, device: torch.device) -> Stateful:
        """Return the untrained model for the frames of a recording."""
        raise NotImplementedError

    def batches(self, recording: Recording, model: Any) -> Batches[Any]:
        """Return the training batches for the model's current phase."""
        raise NotImplementedError

    def phase(self, model: Any) -> Any:
        """Return the model's phase of a curriculum; batches are rebuilt when it changes."""
        return None

    def update(self, model: Any, batch: Any, device: torch.device) -> Metrics:
        """Make one gradient step; a metric named ``loss`` is checked for finiteness."""
        raise NotImplementedError

    def evaluate(self, model: Any, recording: Recording, device: torch.device) -> Metrics:
        """Return quick metrics on held-out episodes, to be logged as ``eval/NAME``."""
        raise NotImplementedError

    def finish(self, run: Run, model: Any, recording: Recording, device: torch.device) -> None:
        """Write figures and tables of the trained model; repeated if the process was killed."""


@dataclass(frozen=True)
class PretrainOptions:
    """How a pretraining is executed: folder, device, logging and checkpoints."""

    folder: Path | None = None
    """Run folder; by default runs/pretrain-MODEL-ENV-sSEED."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0 for all cores."""
    precision: Precision = "fp32"
    """Precision of the model's matrix products; bf16 is faster if the hardware supports it."""
    log_every: int = 500
    """Updates between two rows of metrics, each with an evaluation on held-out episodes."""
    max_minutes: float = 0.0
    """Stop with a checkpoint after this many minutes; 0 for no limit."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""
    memory_gb: float = 2.0
    """Host memory for decoded frames; they are cached if all of them fit."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "log_every")
        check(self, "", at_least(0), "max_minutes", "checkpoint_minutes", "memory_gb")


def pretrain(
    job: Pretraining, folder: Path | str, options: PretrainOptions = PretrainOptions()
) -> Run:
    """Pretrain, or continue pretraining, in a run folder; return the run.

    Raises UsageError for invalid input, and NumericalError, which names the update, if the loss is
    no longer finite; the last checkpoint is kept.
    """
    device, threads = pick_device(options.device), pick_threads(options.threads)
    keep_freed_memory()
    recording = Recording(*job.data, cache_bytes=options.memory_gb * 1e9)
    with use_precision(PrecisionConfig(options.precision)), building("model"):
        model = job.build(recording, device)
    run = Run.open(folder, encode(job))
    with run.locked(), report_full_disk(run.folder):
        _PretrainingSession(job, run, model, recording, options, device).train(threads)
    return run


def load_model(
    folder: Path | str, *, device: torch.device | str = "auto"
) -> tuple[Pretraining, Any]:
    """Return a pretraining and its model as of the last checkpoint.

    Raises UsageError if the folder holds no pretraining or no checkpoint.
    """
    run, device = Run(folder), pick_device(device)
    job = read_job(folder)
    if not isinstance(job, Pretraining):
        raise UsageError(f"{folder} is no pretraining; name a run of `reverie pretrain`.")
    state = run.load()
    if state is None:
        raise UsageError(f"{folder} has no checkpoint yet; pretrain it first.")
    with building("model"):
        model = job.build(Recording(*job.data, cache_bytes=0), device)
    with loading(run.folder):
        model.load_state_dict(state["model"])
    return job, model


def default_pretrain_folder(job: Pretraining) -> Path:
    """Return runs/pretrain-MODEL-ENV-sSEED."""
    env_name = Recording(*job.data, cache_bytes=0).env_name
    return Path("runs") / f"pretrain-{job.model_name}-{env_name}-s{job.seed}"


class _PretrainingSession:
    """A session of a pretraining, from its last checkpoint to its end or an interruption."""

    def __init__(
        self,
        job: Pretraining,
        run: Run,
        model: Any,
        recording: Recording,
        options: PretrainOptions,
        device: torch.device,
    ) -> None:
        self.job, self.run, self.model, self.recording = job, run, model, recording
        self.options, self.device = options, device
        self.means = Means()
        self.num_updates = self.num_frames = 0

    def train(self, threads: int) -> None:
        """Continue from the last checkpoint, or start, and train until the end or a signal."""
        job, run, state = self.job, self.run, self.run.load()
        if state:
            self.num_updates = state["num_updates"]
        if state and self.num_updates >= job.num_updates:
            with loading(run.folder):
                self.model.load_state_dict(state["model"])
            self._finish()
            if not self.options.quiet:
                print(
                    f"{run.folder} is finished at update {self.num_updates:,}; choose a larger "
                    "--num-updates to continue."
                )
            return
        self.num_frames = state["num_frames"] if state else 0
        env_name = self.recording.env_name
        about = {"protocol": self.recording.manifest.env.protocol_label, "env_name": env_name}
        about |= {"precision": self.options.precision}
        with loading(run.folder):
            if state:
                self.model.load_state_dict(state["model"])
            self.batches, self.phase = job.batches(self.recording, self.model), self._phase()
            if state:
                self.batches.load_state_dict(state["batches"])
                self.means.load_state_dict(state["means"])
        warning = run.begin(encode(job), self.num_updates, provenance(self.device, threads) | about)
        run.truncate_lines("metrics.jsonl", self.num_updates)
        verb = f"continues at update {self.num_updates:,}" if self.num_updates else "starts"
        headline = (
            f"{run.folder} {verb}: {job.model_name} on {len(self.recording):,} frames of "
            f"{env_name}, {job.num_updates:,} updates with batches of {self.batches.batch_size}"
        )
        with (
            interrupts() as signals,
            closing(Log(run.folder, self.num_updates)) as log,
            Display(headline, job.num_updates, quiet=self.options.quiet) as display,
        ):
            if warning:
                display.message(warning)
            self._loop(log, display, signals)
            run.interrupted = bool(signals)
        if self.num_updates >= job.num_updates:
            self._finish()
        end = "Done" if run.finished else "Stopped; the same command continues"
        display.message(f"{end}: {self.num_updates:,} updates in {run.folder}")

    def _loop(self, log: Log, display: Display, signals: list[int]) -> None:
        """Make updates until the last one, the time limit or a signal."""
        job, options = self.job, self.options
        start_time = save_time = log_time = time.monotonic()
        logged_updates = self.num_updates
        while self.num_updates < job.num_updates:
            if self._phase() != self.phase:
                self.batches, self.phase = job.batches(self.recording, self.model), self._phase()
            metrics = job.update(self.model, next(self.batches), self.device)
            self.num_updates += 1
            self.num_frames += self.batches.batch_size
            self.means.update(metrics)
            is_last = self.num_updates == job.num_updates
            out_of_time = 0 < 60 * options.max_minutes < time.monotonic() - start_time
            stop = out_of_time or bool(signals) or is_last
            save_due = stop or time.monotonic() - save_time > 60 * options.checkpoint_minutes
            log_due = self.num_updates % options.log_every == 0 or is_last
            # On a GPU, a check after every update would synchronize with it.
            if self.device.type == "cpu" or save_due or log_due:
                self._check_loss(metrics)
            if log_due:
                held_out = job.evaluate(self.model, self.recording, self.device)
                row = self.means.pop() | {f"eval/{name}": float(x) for name, x in held_out.items()}
                rate = (self.num_updates - logged_updates) / (time.monotonic() - log_time)
                row["charts/updates_per_second"] = rate
                logged_updates, log_time = self.num_updates, time.monotonic()
                log.row(self.num_updates, self.num_frames, row)
                log.flush([])
                self._show(display, row)
            if save_due:
                self._save()
                save_time = time.monotonic()
            if stop:
                break

    def _phase(self) -> Any:
        return self.job.phase(self.model)

    def _check_loss(self, metrics: Metrics) -> None:
        loss = float(metrics.get("loss", 0.0))
        if not math.isfinite(loss):
            raise NumericalError(
                f"The loss at update {self.num_updates} is {loss}: training has diverged. The last "
                f"checkpoint in {self.run.folder} is unchanged; try a smaller learning rate."
            )

    def _show(self, display: Display, row: dict[str, float]) -> None:
        metrics = "  ".join(f"{k} {x:.4g}" for k, x in without_machine_metrics(row).items())
        rate = f"{row['charts/updates_per_second']:>6,.1f} updates/s"
        display.update(self.num_updates, f"update {self.num_updates:>8,}  {rate}  {metrics}")

    def _save(self) -> None:
        parts = {"model": self.model, "batches": self.batches, "means": self.means}
        states = {name: part.state_dict() for name, part in parts.items()}
        self.run.write_tensors(
            MODEL_FILE, {"env_name": self.recording.env_name, "model": states["model"]}
        )
        counts = {"num_updates": self.num_updates, "num_frames": self.num_frames}
        self.run.checkpoints.save(self.num_updates, counts | states)

    def _finish(self) -> None:
        """Make figures and tables unless those of this number of updates are complete."""
        marker = self.run.folder / FINISHED_FILE
        if not (marker.exists() and marker.read_text() == str(self.num_updates)):
            self.job.finish(self.run, self.model, self.recording, self.device)
            marker.write_text(str(self.num_updates))
        self.run.finished = True
