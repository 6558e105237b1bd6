"""Pretraining: a model learns from recordings, before or without an agent.

What is common to all models is here: batches, progress, checkpoints, the held-out metric, exact
resumption. What a role needs beside is in a ``Pretraining`` of its own, a line of ``choices.py``.
"""

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from envs.checks import at_least, check, refuse, within
from envs.errors import NumericalError, UsageError
from envs.interface import Metrics, Stateful
from experiments.batches import Batches
from experiments.checkpoints import said_where_full
from experiments.config import Job
from experiments.machine import interrupts, keep_freed_memory, pick_device, pick_threads
from experiments.progress import Display
from experiments.recording import Recording
from experiments.run import Run, building, fitting, provenance
from experiments.trackers import Log, Means
from world_models.arithmetic import Arithmetic, Precision, using

WEIGHTS = "model.pt"
"""The model of a pretraining's last checkpoint, alone, for whoever goes on with it."""
FINISHED = "finished"
"""Says at which step a pretraining's figures and tables were made; it is written after them."""


@dataclass(frozen=True)
class Pretraining(Job):
    """A model, the recordings it learns from, and for how long; one subclass a role."""

    data: tuple[str, ...] = ()
    """Folders of recordings of one world."""
    seed: int = 0
    steps: int = 20_000
    """Gradient steps."""
    batch: int = 32
    held_out: float = 0.1
    """Share of the frames that is set aside, by whole episodes."""
    split: int = 0
    """Seed of which episodes those are: the same for models that are to be compared."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "steps")
        check(self, "", within(0, 2**63 - 1), "seed", "split")
        if not 0 < self.held_out < 1:
            refuse(self, "", "held_out", "above 0 and below 1")

    @property
    def model_name(self) -> str:
        """How the model is called in the default run folder."""
        raise NotImplementedError

    def build(self, recording: Recording, device: torch.device) -> Stateful:
        """The untrained model for these recordings' frames."""
        raise NotImplementedError

    def batches(self, recording: Recording, model: Any) -> Batches[Any]:
        """What the model learns from; it is asked for again where the phase changes."""
        raise NotImplementedError

    def phase(self, model: Any) -> Any:
        """Where in a curriculum the model is; each phase has its own batches."""
        return None

    def update(self, model: Any, batch: Any, device: torch.device) -> Metrics:
        """One gradient step; ``loss`` among the metrics is watched."""
        raise NotImplementedError

    def evaluate(self, model: Any, recording: Recording, device: torch.device) -> Metrics:
        """Quick numbers on held-out episodes, for the rows of metrics."""
        raise NotImplementedError

    def finish(self, run: Run, model: Any, recording: Recording, device: torch.device) -> None:
        """Figures and tables of a finished model; made again where a kill came between."""


@dataclass(frozen=True)
class PretrainOptions:
    """How a pretraining is carried out; none of it changes what is learned."""

    folder: Path | None = None
    """Run folder; by default runs/pretrain-MODEL-WORLD-sSEED."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    precision: Precision = "fp32"
    """In what the model multiplies; bf16 is faster where the processor has it."""
    log_every: int = 500
    """Gradient steps between two rows of metrics, each with the held-out metric."""
    minutes: float = 0.0
    """Stop with a checkpoint after so many minutes; 0 for no limit."""
    checkpoint_minutes: float = 5.0
    memory_gb: float = 2.0
    """Decoded frames are kept where all of them fit in this much host memory."""
    quiet: bool = False

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "log_every")
        check(self, "", at_least(0), "minutes", "checkpoint_minutes", "memory_gb")


def pretrain(
    job: Pretraining, folder: Path | str, options: PretrainOptions = PretrainOptions()
) -> Run:
    """Train, or continue, the model of a run folder; returns the run, finished or interrupted.

    Raises UsageError for input that cannot be used, and NumericalError, which names the step,
    where the loss is no longer a number; the last checkpoint is then still the last good one.
    """
    device, threads = pick_device(options.device), pick_threads(options.threads)
    keep_freed_memory()
    recording = Recording(*job.data, memory=options.memory_gb * 1e9)
    with using(Arithmetic(options.precision)), building("model"):
        model = job.build(recording, device)
    run = Run.open(folder, job)
    with run.locked(), said_where_full(run.folder):
        _go(job, run, model, recording, options, device, threads)
    return run


def _go(
    job: Pretraining,
    run: Run,
    model: Any,
    recording: Recording,
    options: PretrainOptions,
    device: torch.device,
    threads: int,
) -> None:
    """One sitting: from the checkpoint to the end, or to an interrupt."""
    state = run.load()
    step = state["step"] if state else 0
    if state and step >= job.steps:
        with fitting(run.folder):
            model.load_state_dict(state["model"])
        _finish(job, run, model, recording, device, step)
        if not options.quiet:
            print(f"{run.folder} is finished at step {step:,}; ask for more by --steps.")
        return
    frames = state["frames"] if state else 0
    about = {"protocol": recording.manifest.env.protocol_label, "world": recording.title}
    about |= {"precision": options.precision}
    means = Means()
    with fitting(run.folder):
        if state:
            model.load_state_dict(state["model"])
        batches, phase = job.batches(recording, model), job.phase(model)
        if state:
            batches.load_state_dict(state["batches"])
            means.load_state_dict(state["means"])
    inexact = run.begin(job, step, provenance(device, threads) | about)
    run.truncate_lines("metrics.jsonl", step)
    verb = f"continues at step {step:,}" if step else "starts"
    headline = (
        f"{run.folder} {verb}: {job.model_name} on {len(recording):,} frames of {recording.title}, "
        f"{job.steps:,} gradient steps of {batches.batch}"
    )
    began = saved = logged = time.monotonic()
    done = step
    with (
        interrupts() as interrupted,
        closing(Log(run.folder, step)) as log,
        Display(headline, job.steps, quiet=options.quiet) as display,
    ):
        if inexact:
            display.console.print(inexact)
        while step < job.steps:
            if job.phase(model) != phase:
                batches, phase = job.batches(recording, model), job.phase(model)
            metrics = job.update(model, next(batches), device)
            step, frames = step + 1, frames + batches.batch
            means.update(metrics)
            over = 0 < 60 * options.minutes < time.monotonic() - began
            stop = over or bool(interrupted) or step == job.steps
            save = stop or time.monotonic() - saved > 60 * options.checkpoint_minutes
            log_now = step % options.log_every == 0 or step == job.steps
            # On a GPU, asking after every step would make it wait.
            if device.type == "cpu" or save or log_now:
                _check_loss(metrics, step, run)
            if log_now:
                row = means.pop() | {
                    f"held-out/{name}": float(x)
                    for name, x in job.evaluate(model, recording, device).items()
                }
                row["time/steps_per_second"] = (step - done) / (time.monotonic() - logged)
                done, logged = step, time.monotonic()
                log.row(step, frames, row)
                log.flush([])
                shown = "  ".join(
                    f"{k} {x:.4g}" for k, x in row.items() if not k.startswith("time")
                )
                rate = row["time/steps_per_second"]
                display.line(step, f"step {step:>8,}  {rate:>6,.1f} steps/s  {shown}")
            if save:
                parts = {"model": model, "batches": batches, "means": means}
                states = {name: part.state_dict() for name, part in parts.items()}
                about_model = {"world": recording.title, "model": states["model"]}
                run.write_tensors(WEIGHTS, about_model)
                run.checkpoints.save(step, {"step": step, "frames": frames} | states)
                saved = time.monotonic()
            if stop:
                break
        run.interrupted = bool(interrupted)
    if step >= job.steps:
        _finish(job, run, model, recording, device, step)
    ended = "Done" if run.finished else "Stopped; the same command continues"
    display.console.print(f"{ended}: {step:,} gradient steps in {run.folder}")


def _finish(
    job: Pretraining, run: Run, model: Any, recording: Recording, device: torch.device, step: int
) -> None:
    """Make figures and tables where those of this step are not all there."""
    marker = run.folder / FINISHED
    if not (marker.exists() and marker.read_text() == str(step)):
        job.finish(run, model, recording, device)
        marker.write_text(str(step))
    run.finished = True


def load_model(
    folder: Path | str, *, device: torch.device | str = "auto"
) -> tuple[Pretraining, Any]:
    """A pretraining and its model as the last checkpoint knows it.

    Raises UsageError for a folder that holds none.
    """
    run, where = Run(folder), pick_device(device)
    job = run.job()
    if not isinstance(job, Pretraining):
        raise UsageError(f"{folder} is no pretraining; name a run of `reverie pretrain`.")
    state = run.load()
    if state is None:
        raise UsageError(f"{folder} has no checkpoint yet; pretrain it first.")
    with building("model"):
        model = job.build(Recording(*job.data, memory=0), where)
    with fitting(run.folder):
        model.load_state_dict(state["model"])
    return job, model


def default_pretrain_folder(job: Pretraining) -> Path:
    """runs/pretrain-MODEL-WORLD-sSEED."""
    title = Recording(*job.data, memory=0).title
    return Path("runs") / f"pretrain-{job.model_name}-{title}-s{job.seed}"


def _check_loss(metrics: Metrics, step: int, run: Run) -> None:
    loss = float(metrics.get("loss", 0.0))
    if not math.isfinite(loss):
        raise NumericalError(
            f"The loss at gradient step {step} is {loss}: training has diverged. What "
            f"{run.folder} held before is unchanged; try a smaller learning rate."
        )
