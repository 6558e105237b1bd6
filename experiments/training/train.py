"""Training of an agent in the envs of an experiment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...agents.bonuses.bonus import NoBonus, check_finite
from ...agents.loop import interact
from ...envs.errors import UsageError
from ...envs.interface import (
    Carry,
    Metrics,
    Stateful,
    TimeStep,
    Transition,
    timestep_from_state,
    timestep_state,
)
from ...envs.pipeline import join_states, split_state
from ...envs.prng import Purpose
from ..config.experiment import Experiment
from ..evaluation.evaluate import evaluate
from ..runs.part_errors import building
from ..runs.run import Run
from ..runs.runtime import Runtime
from ..runs.scores import Scores
from ..runs.state_checks import check_carry, check_count, check_types, restore
from ..sessions import random_state
from ..sessions.callbacks import Callback
from ..sessions.data_parallel import data_parallel, gather_transition
from ..sessions.driver import Process, drive
from ..sessions.event_log import EventLog
from ..sessions.options import TrainOptions
from ..sessions.periodic_evaluation import PeriodicEvaluation
from ..sessions.progress import Display
from ..sessions.throughput import Throughput
from ..sessions.visits import RoomVisits, StateCounts
from ..text.formatting import format_number
from .envs import make_batched_env, random_play_throughput
from .initialization import initialize
from .logs import EpisodeLog, Exchange, Means, MetricsLog, PlanTracking, Videos


def train(
    experiment: Experiment,
    folder: Path | str,
    options: TrainOptions = TrainOptions(),  # noqa: B008  # frozen
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train, or continue training, in a run folder; return the run, finished or interrupted.

    A run that has reached its total timesteps is not changed. Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint after the current timestep, from which the same call continues. ``callbacks`` are
    called after the run's own ones (see ``Callback``).

    A script that ``torchrun`` starts in several processes trains one run in all of them, if the
    agent can (see ``DataParallel``). Only the first process then calls ``callbacks``, with the
    transitions of its own envs.

    Raises UsageError for invalid input, and RunError if a model's numbers are no longer finite, an
    emulator does not respond or the disk is full; the last checkpoint is kept in either case.

    Example::

        train(PRESETS["dqn"], "runs/dqn", TrainOptions(device="cpu"))
    """
    if options.seeds_together > 1:
        raise UsageError(
            f"seeds_together is {options.seeds_together}; call train_together for several runs."
        )
    return drive(AgentTraining, experiment, folder, options, callbacks)


class AgentTraining(Process):
    """The process of training: the loop's transitions, from which the agent and the bonus learn.

    ``initial_steps`` are the agent steps that were spent on pretraining.
    """

    job: Experiment
    options: TrainOptions
    data_parallel = True

    def __init__(
        self,
        experiment: Experiment,
        options: TrainOptions,
        run: Run,
        runtime: Runtime,
        resources: ExitStack,
    ) -> None:
        super().__init__(experiment, options, run, runtime, resources)
        env, threads, ranks = experiment.env, runtime.threads, runtime.ranks
        always = options.pipeline == 1 and ranks.alone
        self.sync_every = 1 if always else experiment.agent.rollout_length
        self.initial_steps, total = 0, experiment.total_timesteps
        self.timesteps_before = 0
        """Timesteps that the agent learned from before the loop: those of the run that it started
        from, and two at every start of new episodes. They shift the ends of its rollouts."""
        protocol = experiment.protocol_label
        self.about = {"protocol": protocol, "env_name": env.env_name, "pipeline": options.pipeline}
        self.title = (
            f"{env.env_name}, protocol {protocol}, seed {experiment.seed}, {total:,} "
            f"steps ({total * env.frame_skip:,} frames)"
        )
        random_sps, seconds = None, options.random_play_seconds
        with building("env"):  # an env may hold a model
            if seconds > 0 and ranks.alone:
                random_sps = random_play_throughput(experiment, threads, seconds)
            random_state.seed_all(experiment.seed)  # random play drew as often as time allowed
            self.envs = make_batched_env(
                experiment,
                runtime.device,
                threads,
                options.pipeline,
                precision=runtime.precision,
                privileged=options.count_rooms,
                ranks=ranks,
            )
        resources.callback(self.envs.close)
        spec = self.envs.spec
        settings: dict[str, Any] = {
            "seed": experiment.seed,
            "device": runtime.device,
            "precision": runtime.precision,
        }
        with building("agent"):
            self.agent = experiment.agent.build(spec, **settings)
        if not ranks.alone:
            self.agent = data_parallel(self.agent, experiment, options, ranks)
        with building("bonus"):
            whole = replace(spec, num_envs=experiment.num_envs)
            self.bonus = experiment.bonus.build(whole, **settings)
        events = EventLog(run.folder, self.hyperparameters)
        fresh = options.resume == "fresh-episodes"
        exchange = Exchange(ranks, lambda: self.can_stop)
        rows = ranks.rows(experiment.num_envs)
        self.episode_log = EpisodeLog(run, events, rows, exchange, fresh=fresh)
        plan_tracking = PlanTracking(spec.num_envs, self.envs.device, exchange)
        self.now: tuple[TimeStep, Carry] | None = None
        """The time step and the carry to continue from; None at the envs' reset."""
        self.env_state: Callable[[], dict[str, Any]] = self.envs.state_dict
        """Returns the state of the run's envs, also where they are among those of other seeds."""
        self.callbacks = [self.episode_log, plan_tracking]
        if not ranks.first:
            return
        self.callbacks = [
            Means(),
            events,
            self.episode_log,
            plan_tracking,
            Throughput("SPS", size=experiment.num_envs, random_sps=random_sps),
            MetricsLog(run),
            PeriodicEvaluation(
                run,
                events,
                self.evaluate,
                every=options.eval_every,
                can_play=lambda: self.can_stop,
                tell=self.tell,
            ),
            Display(experiment, self.status, self.signals, quiet=options.quiet),
        ]
        if options.count_rooms:
            self.callbacks.append(RoomVisits(spec, env.env_name))
        if options.count_states:
            self.callbacks.append(StateCounts(spec))
        if options.video_every:
            self.callbacks.append(Videos(run.folder / "videos", options.video_every))

    @property
    def timestep(self) -> int:
        """The number of timesteps that the agent has learned from, in this run and before it."""
        return self.timesteps_before + (self.step - self.initial_steps) // self.job.num_envs

    @property
    def parts(self) -> dict[str, Stateful]:
        return {"agent": self.agent, "bonus": self.bonus}

    @property
    def can_stop(self) -> bool:
        return self.timestep % self.sync_every == 0

    def status(self) -> tuple[int, Sequence[str]]:
        """Return the present step and the mean score of the last episodes, as texts."""
        recent = self.episode_log.episodes.recent
        if not recent:
            return self.step, ("no episode yet",)
        score = format_number(sum(recent) / len(recent))
        return self.step, (f"mean score {score} of {len(recent)} episodes", f"score {score}")

    def evaluate(self) -> Scores:
        """Return the scores of the present agent; they do not depend on the training's envs."""
        return evaluate(
            self.agent,
            self.job.env.eval_env,
            episodes=self.options.eval_episodes,
            seed=self.job.seed,
            purpose=Purpose.VALIDATION,
            device=self.runtime.device,
            threads=self.runtime.threads,
            privileged=self.job.needs_privileged,
            snapshots=self.job.needs_snapshots,
            tell=self.tell,
        )

    def iterate(self) -> Iterator[tuple[Transition, Metrics]]:
        """Make timesteps of all envs, and learn from them."""
        if self.now is None:
            carry = self.agent.initial(self.job.num_envs)
            self.now = self.envs.reset(), {name: self.own_envs(x) for name, x in carry.items()}
        for t in interact(
            self.envs,
            self.agent,
            start=self.now,
            sync_every=self.sync_every,
            timestep=self.timestep,
        ):
            bonus = self.bonus_of(t)
            t = t.with_bonus(self.own_envs(bonus))
            metrics = {**self.bonus_metrics(bonus), **self.agent.learn(t)}
            self.count(t)
            yield t, metrics

    def count(self, t: Transition) -> None:
        """Count a timestep, after which the run can continue."""
        self.step += self.job.num_envs
        self.frames = self.step * self.job.env.frame_skip
        self.now = t.next_step, t.next_carry

    def bonus_of(self, t: Transition) -> Float[Tensor, " N"]:
        """Return the bonus of all ranks' envs, and let it learn from the transitions of all."""
        if isinstance(self.bonus, NoBonus):
            return t.bonus.new_zeros(self.job.num_envs)
        bonus = self.bonus(gather_transition(t, self.runtime.ranks))
        return check_finite(bonus, f"bonus {type(self.bonus).__name__}")

    def bonus_metrics(self, bonus: Float[Tensor, " N"]) -> Metrics:
        """Return the mean bonus of a timestep; nothing without a bonus."""
        return {} if isinstance(self.bonus, NoBonus) else {"bonus/mean": bonus.mean()}

    def start(self) -> None:
        """Initialize the agent from another run if the experiment names one."""
        if warning := self.job.warning:
            self.tell(f"In this run {warning}")
        if self.job.init_from is None:
            return
        spec, device, total = self.envs.spec, self.envs.device, self.job.total_timesteps
        self.initial_steps, last = initialize(self.agent, self.bonus, self.job, spec, device)
        if self.initial_steps >= total:
            raise UsageError(
                f"total_timesteps is {total}, and {self.initial_steps} were spent on pretraining; "
                "choose a larger --total-timesteps."
            )
        self.step = self.initial_steps
        if last is not None:
            self.timesteps_before, step, carry = last
            self._start_fresh_episodes(step, carry, seed_index=0)

    def state_dict(self) -> dict[str, Any]:
        assert self.now is not None
        (step, carry), ranks = self.now, self.runtime.ranks
        envs = ranks.collect(self.env_state())
        return {
            "initial_steps": self.initial_steps,
            "timesteps_before": self.timesteps_before,
            **{name: part.state_dict() for name, part in self.parts.items()},
            "envs": join_states(envs) if ranks.first else {},
            "next_step": {name: ranks.gather(x) for name, x in timestep_state(step).items()},
            "next_carry": {name: ranks.gather(x) for name, x in carry.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.initial_steps = check_count(state["initial_steps"], "initial_steps")
        check_count(self.step - self.initial_steps, "step since the initial ones")
        before = state.get("timesteps_before", 0)  # earlier files of this format have none
        self.timesteps_before = check_count(before, "timesteps_before")
        if not (self.runtime.ranks.alone or self.can_stop):
            raise UsageError(
                f"The checkpoint of step {self.step:,} is amid a rollout, and several processes "
                "continue at the end of one; continue in one process, without torchrun."
            )
        restore(self.agent, state["agent"], "agent")
        restore(self.bonus, state["bonus"], "bonus")
        own_step = {name: self.own_envs(x) for name, x in state["next_step"].items()}
        step = timestep_from_state(own_step, self.envs.spec, self.envs.device)
        carry = {
            name: self.own_envs(x).to(self.envs.device) for name, x in state["next_carry"].items()
        }
        check_carry(carry, self.agent.initial(self.envs.spec.num_envs))
        self.now = step, carry
        if self.options.resume == "fresh-episodes":
            self.warn("New episodes start: from here on the run is not exact.")
            self.about["resume"] = self.options.resume
            seed_index = int(state["envs"]["seed_index"].max()) + 1
            self._start_fresh_episodes(step, carry, seed_index)
            return
        check_types(state["envs"], self.envs.state_dict(), "envs")
        envs = split_state(state["envs"], self.runtime.ranks.rows(self.job.num_envs))
        if (timesteps := int(envs["steps_since_seed"].max())) > 1000:
            self.tell(f"replaying {timesteps:,} timesteps of every env")
        obs = self.envs.load_state_dict(envs)
        if not torch.equal(obs, step.obs.cpu()):
            raise UsageError(
                "The env does not replay: after the logged actions its observations differ from "
                "the checkpoint's. Continue inexactly, with new episodes, by --resume "
                "fresh-episodes."
            )

    def _start_fresh_episodes(self, step: TimeStep, carry: Carry, seed_index: int) -> None:
        """Show the agent a time-out of its unfinished episodes, then the reset of all envs."""
        zeros = torch.zeros_like(step.discount)
        yes, no = torch.ones_like(step.last), torch.zeros_like(step.last)
        no_reward = torch.zeros_like(step.reward)
        truncated = replace(step, reward=no_reward, discount=zeros + 1, first=no, last=yes)
        for next_step in (truncated, self.envs.reset(seed_index)):
            with torch.no_grad():
                output = self.agent.act(step, carry)
            action, extras, next_carry = output.action, output.extras, output.carry
            self.agent.learn(Transition(step, carry, action, extras, next_step, next_carry, zeros))
            step, carry = next_step, next_carry
            self.timesteps_before += 1
        self.now = step, carry
