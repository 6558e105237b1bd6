"""The driver of every run: from its last checkpoint to its end, a time limit or a signal.

What all runs have in common is here: the lock, provenance, clocks, rows of metrics, checkpoints and
signals.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...envs.errors import EnvError, LostRank, NumericalError, UsageError
from ...envs.interface import Metrics, Stateful, Transition
from ...world_models.state import check_storable, map_envs
from ..config.experiment import Job
from ..config.roles import part_at, part_name, roles
from ..config.serialization import encode_job, open_run
from ..runs.config_differences import config_differences, flatten
from ..runs.disk_errors import reporting_disk_errors
from ..runs.files import read_own, sync_folder, write_file
from ..runs.folder_lock import FolderLock, locked
from ..runs.jsonl import is_number
from ..runs.part_errors import loading
from ..runs.provenance import command, provenance
from ..runs.run import Run
from ..runs.runtime import Runtime, interrupts, pick_runtime
from ..runs.scores import find_scores, scores_file
from ..runs.state_checks import check_count, check_finite_state, restore
from ..text.formatting import format_number
from . import random_state
from .callbacks import Callback, Row
from .event_log import EventLog
from .lost_replays import WITHOUT_REPLAY, load_state, loss_text
from .options import RunOptions, TrainOptions
from .processes import joined_ranks
from .progress import Display
from .session_clock import SessionClock
from .trackers import RunDescription, TrackerName
from .tracking import Tracking

FINISHED_FILE = "finished"
"""File that holds the step at which a run was finished, with its figures and tables."""
MAX_DIGITS = 20
"""Greatest length of that file."""


class Process:
    """Base of a run of one job; it makes timesteps or updates, and callbacks consume them.

    A subclass counts ``step`` and ``frames``, and sets its ``callbacks``, its ``title`` on the
    console and what to note in the provenance, ``about``. What is to be closed at the end of the
    session, also after an error, it leaves in ``resources``.

    Of several ranks the first one writes; the others need only the callbacks that tell it of their
    envs.
    """

    title: str
    about: dict[str, Any]
    callbacks: list[Callback]
    data_parallel: ClassVar[bool] = False
    """Whether several ranks can execute it."""

    def __init__(
        self, job: Any, options: Any, run: Run, runtime: Runtime, resources: ExitStack
    ) -> None:
        self.job, self.options = job, options
        self.run, self.runtime, self.resources = run, runtime, resources
        self.step = self.frames = self.consumed = 0
        self.signals: list[int] = []
        """Signals received in this session, which end it at its next checkpoint."""
        self.checkpoint: dict[str, Any] | None = None  # to continue from, until the run begins
        self.lock: FolderLock | None = None  # of the run folder, in the first rank
        self.generators: dict[str, Any] | None = None  # if other runs share the process-wide ones

    @property
    def parts(self) -> dict[str, Stateful]:
        """What learns, by its name in a checkpoint."""
        raise NotImplementedError

    @property
    def can_stop(self) -> bool:
        """Whether it can continue from its present state: no action is pending."""
        return True

    def start(self) -> None:
        """Prepare the first step of a run without a checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue at ``step`` from a checkpoint's state."""
        raise NotImplementedError

    def iterate(self) -> Iterator[tuple[Transition | None, Metrics]]:
        """Make timesteps or updates without end; yield a transition, if any, and metrics.

        Raises NumericalError if a number is not finite.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state of everything but ``step`` and the callbacks."""
        raise NotImplementedError

    def own_envs(self, x: Tensor) -> Tensor:
        """Return the rows of this rank's envs."""
        return x[self.runtime.ranks.rows(len(x))]

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The command and every setting of the job by dotted path, as texts for displays."""
        settings = flatten(encode_job(self.job, self.run.folder, self.options.imports))
        return {"command": command()} | {name or "class": x for name, x in settings.items()}

    def tracking(self, tool: TrackerName) -> Tracking:
        """Return the callback that tracks this run in another tool."""
        (events,) = (x for x in self.callbacks if isinstance(x, EventLog))
        names = (part_name(part_at(self.job, role)) for role, _ in roles(self.job))
        tags = (*names, self.about["env_name"], self.about["protocol"])
        tags = tuple(dict.fromkeys(tag for tag in tags if tag != "none"))
        about = RunDescription(self.run.folder, self.hyperparameters, tags)
        return Tracking(tool, self.run, events, about, self.tell)

    @property
    def is_done(self) -> bool:
        """Whether the run has its length, rounded up to a step at which it can stop."""
        return bool(self.step >= self.job.length) and self.can_stop

    def tell(self, text: str) -> None:
        """Show the user a sentence."""
        for callback in self.callbacks:
            callback.on_message(text)

    def warn(self, text: str) -> None:
        """Tell the user what is not as it should be, even if no progress is shown."""
        print(text, file=sys.stderr)

    def begin(self) -> None:
        """Continue from the run's checkpoint, or start, and record the session."""
        run, runtime = self.run, self.runtime
        state, self.checkpoint = self.checkpoint, None  # its tensors are copied
        verb = f"continues at {self.job.unit} {self.step:,}" if self.step else "starts"
        if state is None:
            self.start()  # which may refuse what it starts from
        for name, part in (*self.parts.items(), *((x.name, x) for x in self.callbacks)):
            check_storable(part, name)
        self.tell(f"{run.folder} {verb}: {self.title}")
        if state is not None:
            with loading(run.folder):
                self.restore(state)
                for callback in self.callbacks:
                    if callback.name in state["callbacks"]:
                        own = map_envs(callback, state["callbacks"][callback.name], self.own_envs)
                        restore(callback, own, callback.name)
                random_state.restore(state["random_state"])
        self.consumed = self.step
        if not runtime.ranks.first:
            return
        about = provenance(runtime.device, runtime.threads) | self.about
        about |= {"precision": runtime.precision.name, "compile": runtime.precision.compile}
        about["ranks"] = runtime.ranks.size
        with suppress(FileNotFoundError):
            (run.folder / FINISHED_FILE).unlink()
            sync_folder(run.folder)  # before the new config, with which it would end the run
        config = encode_job(self.job, run.folder, self.options.imports)
        if warning := run.begin(config, self.step, about):
            self.warn(warning)
        if damaged := run.damaged_lines(run.checkpoints.marks):
            self.warn(
                f"{' and '.join(damaged)} in {run.folder} lost rows that were written before the "
                f"checkpoint of {self.job.unit} {self.step:,}, by a power failure or another "
                "program. The run continues exactly, and the curves have a gap."
            )
        for callback in self.callbacks:
            callback.on_start(self.step)

    def advance(self) -> None:
        """Iterate until the last step, the time limit or a signal, and write checkpoints."""
        clock = SessionClock(self.options.max_minutes, self.options.checkpoint_minutes)
        stop, steps = self.is_done, self.iterate()
        while not stop:
            self.consume(*next(steps))
            stop = self.is_done
            if self.can_stop:
                stop |= bool(self.signals) or clock.time_is_up
                stop, save = self._agree(stop, stop or clock.checkpoint_is_due)
                if save:
                    self.save()
                    clock.restart()

    def consume(self, t: Transition | None, metrics: Metrics) -> None:
        """Hand what an iteration returned to the callbacks, and write a row if it is due."""
        for callback in self.callbacks:
            if t is not None:
                callback.on_transition(t, self.step)
            callback.on_metrics(metrics)
        every = self.options.log_every
        is_due = self.is_done or self.step // every > self.consumed // every
        if is_due and self.runtime.ranks.first:
            self._log()
        self.consumed = self.step

    def _agree(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether any rank stops or saves, and share its signal."""
        received = self.signals[0] if self.signals else 0
        number, *agreed = self.runtime.ranks.maximum([received, stop, save])
        if number and not received:
            self.signals.append(number)
        return bool(agreed[0]), bool(agreed[1])

    def end(self) -> None:
        """End the session; the run is finished if its last step is done."""
        run, unit = self.run, self.job.unit
        run.finished = self.is_done
        if not self.runtime.ranks.first:
            return
        for callback in self.callbacks:
            callback.on_end(self.step)
        if run.finished:
            write_file(run.folder / FINISHED_FILE, str(self.step))
            self.tell(f"Done: {self.step:,} {unit}s in {run.folder}")
            if videos := sorted((run.folder / "videos").glob("*.mp4")):
                self.tell(f"Videos: {', '.join(map(str, videos))}")
        else:
            self.tell(f"Stopped at {unit} {self.step:,}; the same command continues.")

    def _log(self) -> None:
        metrics = {k: v for callback in self.callbacks for k, v in callback.metrics().items()}
        histograms = {
            k: v.double().cpu().numpy()
            for k, v in metrics.items()
            if isinstance(v, torch.Tensor) and v.ndim == 1
        }
        scalars = {name: float(x) for name, x in metrics.items() if name not in histograms}
        row = Row(self.step, self.frames, scalars, histograms)
        for callback in self.callbacks:
            callback.on_row(row)

    def save(self) -> None:
        """Write a checkpoint; raises NumericalError if training could not continue from it."""
        ranks = self.runtime.ranks
        if ranks.first:
            for callback in self.callbacks:
                callback.on_checkpoint()
        state = self.state_dict()
        states = {x.name: map_envs(x, x.state_dict(), ranks.gather) for x in self.callbacks}
        if not ranks.first:
            return
        for name, part in state.items():
            check_finite_state(part, name)
        if self.lock:
            self.lock.check()
        state |= {
            "step": self.step,
            "callbacks": {name: state for name, state in states.items() if state},
            "random_state": self.generators or random_state.capture(),
        }
        check_storable(state, "state")
        self.run.checkpoints.save(self.step, state, self.run.mark_files(self.step))


def drive(
    kind: type[Process],
    job: Job,
    folder: Path | str,
    options: RunOptions,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Begin or continue a run of one kind of process, and return it, finished or interrupted.

    A finished run is not changed. Ctrl-C, SIGTERM, SIGHUP and the end of a pipe that reads the
    output write a checkpoint as soon as the process can stop, from which the same call continues.
    """
    with joined_ranks() as ranks:
        if not (ranks.alone or kind.data_parallel):
            raise UsageError("Only `reverie train` runs in several processes; leave out torchrun.")
        runtime = pick_runtime(
            options.device, options.threads, options.precision, options.compile, ranks
        )
        with opened(kind, job, folder, options, runtime, callbacks) as (run, process):
            if process is None:
                return run
            with stopped_runs([process]):
                with interrupts(process.signals, urgent=ranks.alone):
                    process.begin()
                    process.advance()
                    run.signal = next(iter(process.signals), 0)
                process.end()
        return run


@contextmanager
def opened(
    kind: type[Process],
    job: Job,
    folder: Path | str,
    options: RunOptions,
    runtime: Runtime,
    callbacks: Sequence[Callback] = (),
) -> Iterator[tuple[Run, Process | None]]:
    """Hold the lock of a run folder, and give its run and its process, or None if it is finished.

    The process is at the step of its last checkpoint, which it restores when it begins.
    """
    run, ranks = open_run(folder, job, options.imports), runtime.ranks
    lock = locked(run.folder, "training") if ranks.first else nullcontext()
    with lock as held, reporting_disk_errors(run.folder), ExitStack() as resources:
        wanted = isinstance(options, TrainOptions) and options.resume == WITHOUT_REPLAY
        state, is_lost = None, False
        if ranks.first:
            state, is_lost = load_state(run.checkpoints, without_replay=wanted)
        state = ranks.broadcast(state)
        with loading(run.folder):
            step = check_count(state["step"], "step") if state else 0
        if state and "random_state" not in state:
            raise UsageError(
                f"{run.folder} was imported, without the replay and the envs of its training, so "
                f"it cannot be resumed; start another run from it: --init-from {run.folder} "
                "--folder NEW."
            )
        # Without its config a run is begun once more, which writes it.
        described = (run.folder / "config.json").exists()
        at_end = described and _was_finished(run.folder, step)
        asked = encode_job(job, run.folder, options.imports)
        if ranks.broadcast(at_end) and (  # a run may end before its length
            step >= job.length or not config_differences(run.config(), asked)
        ):
            run.finished = True
            if not options.quiet:
                flag = f"--{job.length_field.replace('_', '-')}"
                remedy = f"; choose a larger {flag} to continue" if step >= job.length else ""
                print(f"{run.folder} is finished at {job.unit} {step:,}{remedy}.")
                if text := _results(run, step):
                    print(text)
            yield run, None
            return
        process = kind(job, options, run, runtime, resources)
        process.step, process.checkpoint, process.lock = step, state, held
        if is_lost:
            process.about["resume"] = WITHOUT_REPLAY
            process.warn(loss_text(run.folder, f"{job.unit} {step:,}"))
        if ranks.first:
            if options.track:
                display = [isinstance(x, Display) for x in process.callbacks].index(True)
                process.callbacks.insert(display, process.tracking(options.track))
            process.callbacks.extend(callbacks)
        names = [callback.name for callback in process.callbacks]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise UsageError(
                f"Several callbacks are named {', '.join(repeated)}; give each its own `name`, "
                "under which checkpoints hold its state."
            )
        for callback in process.callbacks:
            resources.callback(callback.close)
        yield run, process


def _results(run: Run, step: int) -> str:
    """Return the scores of a run at its end, or else of its last training; empty without any."""
    scores = find_scores(run.folder / scores_file(stochastic=False))
    if scores is not None and scores.steps == step:
        return str(scores)
    mean = run.last_line("metrics.jsonl").get("charts/mean_episodic_return", float("nan"))
    last = "Mean score of the last training episodes"
    return f"{last}: {format_number(mean)}" if is_number(mean) else ""


def _was_finished(folder: Path, step: int) -> bool:
    """Return whether a run was finished at a step; what is no file of ours does not say so."""
    try:
        return read_own(folder / FINISHED_FILE, MAX_DIGITS) == b"%d" % step
    except OSError:
        return False


@contextmanager
def stopped_runs(processes: Sequence[Process]) -> Iterator[None]:
    """Add to an error where the runs stopped, and how they continue."""
    try:
        yield
    except (NumericalError, EnvError, LostRank) as error:
        first, sentences = processes[0], []
        for folder, steps in ((x.run.folder, x.run.checkpoints.steps()) for x in processes):
            sentences.append(
                f"The checkpoint of {first.job.unit} {steps[-1]:,} in {folder} is complete, and "
                "the same command continues from it."
                if steps
                else f"There was no checkpoint in {folder} yet."
            )
        runs = "The run" if len(processes) == 1 else f"The {len(processes)} runs"
        stopped = f"{runs} stopped at {first.job.unit} {first.step:,}."
        raise type(error)(f"{stopped} {error} {' '.join(sentences)}") from error
