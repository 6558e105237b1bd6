"""One session of training: the loop over transitions, with metrics, videos and checkpoints."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from ...agents.bonuses.bonus import Bonus
from ...agents.interface import Agent
from ...agents.loop import interact
from ...envs.batched_env import BatchedEnv
from ...envs.errors import NumericalError, UsageError
from ...envs.interface import Carry, TimeStep, Transition, timestep_from_state, timestep_state
from ...envs.pipeline import Pipeline
from ..config.experiment import Experiment
from ..evaluation.episodes import Episodes
from ..evaluation.plans import PlanLengths, length_metrics
from ..evaluation.video import Video, newest_frame
from ..evaluation.visits import StateCounts, make_room_visits
from ..reporting.figures import learning_curve
from ..runs import random_state
from ..runs.run import Run, loading
from ..runs.runtime import interrupts
from ..runs.serialization import encode
from ..runs.state_checks import check_carry, check_finite_state, check_types, restore
from .metrics import Log, Means
from .options import TrainOptions
from .progress import TrainingDisplay
from .throughput import Throughput


class TrainingSession:
    """A session of a run, from its last checkpoint to its end or an interruption.

    ``timestep`` counts the timesteps of the loop since the beginning of the run.
    """

    def __init__(
        self,
        experiment: Experiment,
        options: TrainOptions,
        run: Run,
        envs: BatchedEnv | Pipeline,
        agent: Agent,
        bonus: Bonus,
        random_sps: float | None,
    ) -> None:
        self.experiment, self.options, self.run = experiment, options, run
        self.envs, self.agent, self.bonus = envs, agent, bonus
        self.num_envs = envs.spec.num_envs
        self.sync_every = experiment.agent.rollout_length if options.pipeline > 1 else 1
        self.initial_steps = experiment.agent.initial_timesteps
        # Rounded up to a timestep at which no action is pending.
        size = self.num_envs * self.sync_every
        steps = experiment.total_timesteps - self.initial_steps
        self.total_timesteps = -(-steps // size) * self.sync_every
        self.timestep = 0
        self.episodes, self.means = Episodes(self.num_envs), Means()
        self.visits = make_room_visits(envs.parts[0], options.visit_envs)
        self.states = StateCounts(envs.spec) if options.count_states else None
        self.plans = PlanLengths()
        self.throughput = Throughput(self.num_envs, random_sps)

    @property
    def steps(self) -> int:
        """Agent steps so far, including those spent on pretraining."""
        return self.initial_steps + self.timestep * self.num_envs

    def train(self, state: dict[str, Any] | None, provenance: dict[str, Any]) -> None:
        """Continue from a checkpoint's state, or start, and train until the end or a signal."""
        self.timestep = state["timestep"] if state else 0
        display = TrainingDisplay(self.run, self.experiment, self.steps, quiet=self.options.quiet)
        with interrupts() as signals, display, self._numerical_errors_with_step():
            start = None
            if state:
                with loading(self.run.folder):
                    start = self._restore(state, display)
            if warning := self.run.begin(encode(self.experiment), self.steps, provenance):
                display.message(warning)
            for name in ("metrics.jsonl", "episodes.jsonl"):
                self.run.truncate_lines(name, self.steps)
            with closing(Log(self.run.folder, self.steps)) as log:
                self._loop(log, display, start, signals)
            self.run.interrupted = bool(signals)
        learning_curve(self.run)
        self.run.finished = self.timestep >= self.total_timesteps
        display.end(self.steps, finished=self.run.finished)

    def _loop(
        self,
        log: Log,
        display: TrainingDisplay,
        start: tuple[TimeStep, Carry] | None,
        signals: list[int],
    ) -> None:
        """Train from ``start`` until the last timestep, the time limit or a signal."""
        options = self.options
        start_time = save_time = time.monotonic()
        video: Video | None = None
        transitions = interact(
            self.envs, self.agent, start=start, sync_every=self.sync_every, timestep=self.timestep
        )
        for t in islice(transitions, self.total_timesteps - self.timestep):
            t = t.with_bonus(self.bonus(t))
            self.means.update({"bonus/mean": t.bonus.mean()})
            self.means.update(self.agent.learn(t))
            self.visits.update(t)
            if self.states:
                self.states.update(t)
            self.plans.update(t)
            self.timestep += 1
            self.episodes.update(t, self.steps)
            self.throughput.update()
            video = self._update_video(video, t)
            if self._is_due(options.log_every) or self.timestep == self.total_timesteps:
                self._log(log, display)
            now = time.monotonic()
            out_of_time = 0 < 60 * options.max_minutes < now - start_time
            synchronized = self.timestep % self.sync_every == 0  # no action is pending
            stop = self.timestep == self.total_timesteps or (
                synchronized and (out_of_time or bool(signals))
            )
            save_due = synchronized and now - save_time > 60 * options.checkpoint_minutes
            if stop or save_due:
                log.flush(self.episodes.pop())
                self._save(t)
                save_time = time.monotonic()
            if stop:
                break

    def _is_due(self, every: int) -> bool:
        """Return whether the last timestep passed a multiple of ``every`` agent steps."""
        return every > 0 and self.steps // every > (self.steps - self.num_envs) // every

    def _log(self, log: Log, display: TrainingDisplay) -> None:
        lengths = self.plans.pop()
        log.histogram("plan/length", self.steps, lengths)
        metrics = self.episodes.metrics() | self.visits.metrics() | length_metrics(lengths)
        metrics |= self.states.metrics() if self.states else {}
        row = {name: float(x) for name, x in metrics.items()}
        self.means.check()
        row |= self.means.pop() | self.throughput.pop()
        log.row(self.steps, self.steps * self.experiment.env.frame_skip, row)
        log.flush(self.episodes.pop())
        display.row(self.steps, row)

    def _update_video(self, video: Video | None, t: Transition) -> Video | None:
        """Add a transition to the current video, and start another if one is due."""
        if self._is_due(self.options.video_every):
            path = self.run.folder / "videos" / f"train-{self.steps}.mp4"
            video = video if video and not video.done else Video(path, newest_frame)
        if video:
            video.update(t)
        return video

    def _save(self, t: Transition) -> None:
        """Write a checkpoint after transition ``t``; raises NumericalError for bad numbers."""
        state = {
            "timestep": self.timestep,
            "agent": self.agent.state_dict(),
            "bonus": self.bonus.state_dict(),
            "envs": self.envs.state_dict(),
            "next_step": timestep_state(t.next_step),
            "next_carry": t.next_carry,
            "episodes": self.episodes.state_dict(),
            "means": self.means.state_dict(),
            "visits": self.visits.state_dict(),
            "states": self.states.state_dict() if self.states else {},
            "plans": self.plans.state_dict(),
            "random_state": random_state.capture(),
        }
        self.means.check()
        for part in ("agent", "bonus"):  # training could not continue from such a checkpoint
            check_finite_state(state[part], part)
        self.run.checkpoints.save(self.steps, state)

    def _restore(self, state: dict[str, Any], display: TrainingDisplay) -> tuple[TimeStep, Carry]:
        """Restore every part, and return the time step and the carry to continue from."""
        for name in ("agent", "bonus", "episodes", "means", "plans"):
            restore(getattr(self, name), state[name], name)
        if self.states and state["states"]:
            restore(self.states, state["states"], "states")
        random_state.restore(state["random_state"])
        step = timestep_from_state(state["next_step"], self.envs.spec, self.envs.device)
        carry = {k: v.to(self.envs.device) for k, v in state["next_carry"].items()}
        check_carry(carry, self.agent.initial(self.num_envs))
        if self.options.resume == "fresh-episodes":
            if self.sync_every > 1:
                raise UsageError(
                    "--resume fresh-episodes needs --pipeline 1, because with more groups actions "
                    "of unfinished episodes are pending."
                )
            display.message("New episodes start: from here on the run is not exact.")
            seed_index = int(state["envs"]["seed_index"].max()) + 1
            step, carry = self._start_fresh_episodes(step, carry, seed_index)
        else:
            check_types(state["envs"], self.envs.state_dict(), "envs")
            obs = self.envs.load_state_dict(state["envs"], display.replay)
            if not torch.equal(obs, step.obs.cpu()):
                raise UsageError(
                    f"The env of {self.run.folder} does not replay: after the logged actions its "
                    "observations differ from the checkpoint's. Continue inexactly, with new "
                    "episodes, by --resume fresh-episodes."
                )
        restore(self.visits, state["visits"], "visits")  # replays the restored envs' logs
        return step, carry

    def _start_fresh_episodes(
        self, step: TimeStep, carry: Carry, seed_index: int
    ) -> tuple[TimeStep, Carry]:
        """Show the agent a time-out of its unfinished episodes, then the reset of all envs."""
        zeros = torch.zeros_like(step.reward)
        yes, no = torch.ones_like(step.last), torch.zeros_like(step.last)
        truncated = replace(step, reward=zeros, discount=zeros + 1, first=no, last=yes)
        self.episodes.discard_unfinished()
        for next_step in (truncated, self.envs.reset(seed_index)):
            action, next_carry = self.agent.act(step, carry)
            self.agent.learn(Transition(step, carry, action, next_step, next_carry, zeros))
            step, carry = next_step, next_carry
        return step, carry

    @contextmanager
    def _numerical_errors_with_step(self) -> Iterator[None]:
        """Add the agent step and the last checkpoint to the message of a NumericalError."""
        try:
            yield
        except NumericalError as error:
            steps = self.run.checkpoints.steps()
            remedy = (
                f"The checkpoint of step {steps[-1]:,} in {self.run.folder} is complete, and the "
                "same command continues from it."
                if steps
                else f"There was no checkpoint in {self.run.folder} yet."
            )
            raise NumericalError(
                f"The run stopped at agent step {self.steps:,}. {error} {remedy}"
            ) from error
