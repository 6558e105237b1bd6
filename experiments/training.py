"""Training: the loop, and the trackers and checkpoints that consume it."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from agents.bonus import Bonus
from agents.interface import Agent
from agents.loop import interact
from envs.checks import at_least, check
from envs.errors import NumericalError, UsageError
from envs.interface import Memory, Step, Transition, step_from_state, step_state
from envs.pipeline import Pipeline
from envs.stream import Stream
from experiments import generators
from experiments.checkpoints import said_where_full
from experiments.config import Experiment
from experiments.figures import learning_curve
from experiments.machine import (
    interrupts,
    keep_freed_memory,
    pick_arithmetic,
    pick_device,
    pick_threads,
)
from experiments.plans import PlanLengths, length_metrics
from experiments.progress import Progress
from experiments.run import Run, building, fitting, provenance
from experiments.states import check_alike, check_numbers, check_same_kind, check_tick, restore
from experiments.streams import bare_rate, make_stream
from experiments.trackers import Episodes, Log, Means, Throughput, Video, newest_frame
from experiments.visits import States, visits_of
from world_models.arithmetic import Precision, using


@dataclass(frozen=True)
class TrainOptions:
    """How a run is carried out; none of it changes what is learned."""

    folder: Path | None = None
    """Run folder; by default runs/PRESET-GAME-sSEED, so the same command finds its run again."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    threads: int = 0
    """CPU threads for torch and for the emulators; 0 takes all cores."""
    precision: Precision = "fp32"
    """In which networks multiply; bf16 is faster where the processor has it, and rounds more."""
    compile: bool = False
    """Compile the networks (minutes at first); needs a C++ compiler."""
    pipeline: int = 1
    """Parts the streams are in: with 2, one is acted in while the emulators of the other work, and
    agents that learn from every tick choose their actions a tick before they learn."""
    log_every: int = 10_000
    """Agent steps between two rows of metrics."""
    minutes: float = 0.0
    """Stop with a checkpoint after so many minutes; 0 for no limit."""
    checkpoint_minutes: float = 5.0
    resume: Literal["exact", "fresh-episodes"] = "exact"
    """How a run continues: as if it had never stopped, its streams being replayed from their seeds
    and actions, or, in a world that does not replay, with episodes begun anew."""
    visit_streams: int = 1
    """Streams whose rooms and keys are read where that is known, with an emulator more for each."""
    count_states: bool = False
    """Count the different frames come to, told apart by SimHash."""
    video_every: int = 0
    """Agent steps between two videos of a training episode; 0 for none."""
    bare_seconds: float = 2.0
    """How long the bare stream is timed, for the throughput's ratio to it; 0 skips it."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "log_every")
        check(self, "", at_least(0), "minutes", "checkpoint_minutes", "video_every", "bare_seconds")


def train(
    experiment: Experiment,
    folder: Path | str,
    options: TrainOptions = TrainOptions(),  # frozen
) -> Run:
    """Train, or continue, the run in ``folder``; returns it, finished or interrupted.

    A run that has reached its steps is left as it is.
    Ctrl-C and SIGTERM write a checkpoint after the current tick; the same call continues from it.
    Raises UsageError for input that cannot be used, and RunError where a model has lost its
    numbers, an emulator is silent or the disk is full; both leave the last checkpoint as it is.
    """
    device = pick_device(options.device)
    threads = pick_threads(options.threads)
    keep_freed_memory()
    run = Run.open(folder, experiment)
    with run.locked(), said_where_full(run.folder):
        state = run.load()
        spent = experiment.agent.steps_spent
        if spent >= experiment.steps:
            raise UsageError(
                f"steps is {experiment.steps}, and {spent} were spent on pretraining; ask for more."
            )
        done = 0
        if state:
            with fitting(run.folder):
                done = check_tick(state["tick"]) * experiment.streams
        if state and spent + done >= experiment.steps:
            run.finished = True
            if not options.quiet:
                print(
                    f"{run.folder} is finished at step {spent + done:,}; ask for more by --steps."
                )
            return run
        experiment.agent.check_world(experiment.env.evaluation.title)
        chosen = pick_arithmetic(options.precision, options.compile, device)
        about = provenance(device, threads) | asdict(chosen)
        about |= {"protocol": experiment.env.protocol_label, "pipeline": options.pipeline}
        timed = options.bare_seconds
        with using(chosen), building("world"):  # a dream multiplies too
            bare = bare_rate(experiment, threads, timed) if timed > 0 else None
            stream = make_stream(experiment, device, threads, options.pipeline)
        with using(chosen), building("agent"):
            agent = experiment.agent.build(stream.spec, seed=experiment.seed, device=device)
        with building("bonus"):
            bonus = experiment.bonus.build(stream.spec, seed=experiment.seed, device=device)
        session = _Session(experiment, options, run, stream, agent, bonus, bare)
        try:
            session.go(state, about)
        finally:
            stream.close()
    return run


class _Session:
    """One sitting of a run: from its checkpoint to its end, or to an interrupt."""

    def __init__(
        self,
        experiment: Experiment,
        options: TrainOptions,
        run: Run,
        stream: Stream | Pipeline,
        agent: Agent,
        bonus: Bonus,
        bare: float | None,
    ) -> None:
        self.experiment, self.options, self.run = experiment, options, run
        self.stream, self.agent, self.bonus = stream, agent, bonus
        self.num_envs = stream.spec.num_envs
        self.ahead = experiment.agent.segment if options.pipeline > 1 else 1
        self.spent = experiment.agent.steps_spent
        # Ticks, rounded up to where none is under way.
        size = self.num_envs * self.ahead
        self.total = -(-(experiment.steps - self.spent) // size) * self.ahead
        self.tick = 0
        self.episodes, self.means = Episodes(self.num_envs), Means()
        self.visits = visits_of(stream.parts[0], options.visit_streams)
        self.states = States(stream.spec) if options.count_states else None
        self.plans = PlanLengths()
        self.throughput = Throughput(self.num_envs, bare)

    def go(self, state: dict[str, Any] | None, about: dict[str, Any]) -> None:
        self.tick = state["tick"] if state else 0
        progress = Progress(self.run, self.experiment, self.steps, quiet=self.options.quiet)
        with interrupts() as interrupted, progress, self._kept():
            start = None
            if state:
                with fitting(self.run.folder):
                    start = self._restore(state, progress)
            if inexact := self.run.begin(self.experiment, self.steps, about):
                progress.say(inexact)
            for name in ("metrics.jsonl", "episodes.jsonl"):
                self.run.truncate_lines(name, self.steps)
            with closing(Log(self.run.folder, self.steps)) as log:
                self._play(log, progress, start, interrupted)
            self.run.interrupted = bool(interrupted)
        learning_curve(self.run)
        self.run.finished = self.tick >= self.total
        progress.end(self.steps, finished=self.run.finished)

    def _play(
        self,
        log: Log,
        progress: Progress,
        start: tuple[Step, Memory] | None,
        interrupted: list[int],
    ) -> None:
        """From ``start`` to the last tick, the last minute or an interrupt."""
        begin = saved = time.monotonic()
        video: Video | None = None
        loop = interact(self.stream, self.agent, start=start, ahead=self.ahead, ticks=self.tick)
        for t in islice(loop, self.total - self.tick):
            t = t.with_bonus(self.bonus(t))
            self.means.update({"bonus/mean": t.bonus.mean()})
            self.means.update(self.agent.learn(t))
            self.visits.update(t)
            if self.states:
                self.states.update(t)
            self.plans.update(t)
            self.tick += 1
            self.episodes.update(t, self.steps)
            self.throughput.update()
            video = self._film(video, t)
            if self._passed(self.options.log_every) or self.tick == self.total:
                self._log(log, progress)
            now = time.monotonic()
            over = 0 < 60 * self.options.minutes < now - begin
            settled = self.tick % self.ahead == 0  # no further tick is under way
            stop = self.tick == self.total or (settled and (over or bool(interrupted)))
            if stop or (settled and now - saved > 60 * self.options.checkpoint_minutes):
                log.flush(self.episodes.pop())
                self._save(t)
                saved = time.monotonic()
            if stop:
                break

    @property
    def steps(self) -> int:
        return self.spent + self.tick * self.num_envs

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Whatever ends the run by a sentence, the sentence says what is kept."""
        try:
            yield
        except NumericalError as error:
            steps = self.run.checkpoints.steps()
            kept = (
                f"The checkpoint of step {steps[-1]:,} in {self.run.folder} is whole, and the same "
                "command continues from it."
                if steps
                else f"There was no checkpoint in {self.run.folder} yet."
            )
            raise NumericalError(
                f"The run stopped at agent step {self.steps:,}. {error} {kept}"
            ) from error

    def _passed(self, every: int) -> bool:
        return every > 0 and self.steps // every > (self.steps - self.num_envs) // every

    def _log(self, log: Log, progress: Progress) -> None:
        lengths = self.plans.pop()
        log.histogram("plan/length", self.steps, lengths)
        so_far = self.episodes.metrics() | self.visits.metrics() | length_metrics(lengths)
        so_far |= self.states.metrics() if self.states else {}
        row = {name: float(x) for name, x in so_far.items()}
        self.means.check()
        row |= self.means.pop() | self.throughput.pop()
        log.row(self.steps, self.steps * self.experiment.env.frame_skip, row)
        log.flush(self.episodes.pop())
        progress.row(self.steps, row)

    def _film(self, video: Video | None, t: Transition) -> Video | None:
        if self._passed(self.options.video_every):
            path = self.run.folder / "videos" / f"train-{self.steps}.mp4"
            video = video if video and not video.done else Video(path, newest_frame)
        if video:
            video.update(t)
        return video

    def _save(self, t: Transition) -> None:
        state = {
            "tick": self.tick,
            "agent": self.agent.state_dict(),
            "bonus": self.bonus.state_dict(),
            "stream": self.stream.state_dict(),
            "next_step": step_state(t.next_step),
            "next_memory": t.next_memory,
            "episodes": self.episodes.state_dict(),
            "means": self.means.state_dict(),
            "visits": self.visits.state_dict(),
            "states": self.states.state_dict() if self.states else {},
            "plans": self.plans.state_dict(),
            "generators": generators.states(),
        }
        self.means.check()
        for part in ("agent", "bonus"):  # a checkpoint is a state one can go on from
            check_numbers(state[part], part)
        self.run.checkpoints.save(self.steps, state)

    def _restore(self, state: dict[str, Any], progress: Progress) -> tuple[Step, Memory]:
        for name in ("agent", "bonus", "episodes", "means", "plans"):
            restore(getattr(self, name), state[name], name)
        if self.states and state["states"]:
            restore(self.states, state["states"], "states")
        generators.restore(state["generators"])
        step = step_from_state(state["next_step"], self.stream.spec, self.stream.device)
        memory = {k: v.to(self.stream.device) for k, v in state["next_memory"].items()}
        check_same_kind(memory, self.agent.initial(self.num_envs))
        if self.options.resume == "fresh-episodes":
            if self.ahead > 1:
                raise UsageError(
                    "New episodes can begin only where no segment is under way ahead of its agent; "
                    "continue with --resume fresh-episodes --pipeline 1."
                )
            progress.say("New episodes begin: from here on the run is not exact.")
            step, memory = self._begin_anew(step, memory, int(state["stream"]["number"].max()) + 1)
        else:
            check_alike(state["stream"], self.stream.state_dict(), "stream")
            obs = self.stream.load_state_dict(state["stream"], progress.replay)
            if not torch.equal(obs, step.obs.cpu()):
                raise UsageError(
                    f"The world of {self.run.folder} does not replay: after the logged actions it "
                    "looks otherwise than in the checkpoint. Continue with new episodes, no longer "
                    "exactly, by --resume fresh-episodes."
                )
        restore(self.visits, state["visits"], "visits")  # it follows the restored stream
        return step, memory

    def _begin_anew(self, step: Step, memory: Memory, number: int) -> tuple[Step, Memory]:
        """To the agent, its unfinished episodes were cut by a time-out and others began."""
        nothing = torch.zeros_like(step.reward)
        every, none = torch.ones_like(step.last), torch.zeros_like(step.last)
        cut = replace(step, reward=nothing, discount=nothing + 1, first=none, last=every)
        self.episodes.begin_anew()
        for following in (cut, self.stream.reset(number)):
            action, later = self.agent.act(step, memory)
            self.agent.learn(Transition(step, memory, action, following, later, nothing))
            step, memory = following, later
        return step, memory
