"""Training of several seeds of one experiment in one process, each bit for bit as it is alone.

Every seed has a run folder, an agent and callbacks of its own, those of ``train``. Only what costs
time in every timestep is done for all of them at once: the envs step, the agents act and learn.
Runs at different steps advance in turn until they can go on together.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch

from ...agents.interface import Agent
from ...agents.loop import interact
from ...agents.seeds_together.env_states import concat_states, split_states
from ...agents.seeds_together.together import check_together, together
from ...envs.batched_env import BatchedEnv, EmulatorEnvs
from ...envs.errors import UsageError
from ...envs.interface import Carry, TimeStep, Transition, concat_timesteps
from ...envs.seed_envs import SeedEnvs
from ..config.experiment import Experiment
from ..runs.run import Run
from ..runs.runtime import interrupts, pick_runtime
from ..sessions import random_state
from ..sessions.callbacks import Callback
from ..sessions.driver import opened, stopped_runs
from ..sessions.options import TrainOptions
from ..sessions.processes import started_ranks
from ..sessions.session_clock import SessionClock
from .envs import build_env
from .train import AgentTraining


def train_together(
    experiments: Sequence[Experiment],
    folders: Sequence[Path | str],
    options: TrainOptions = TrainOptions(),  # noqa: B008  # frozen
    callbacks: Sequence[Callback] = (),
) -> list[Run]:
    """Train, or continue training, several seeds of one experiment; return their runs.

    Each run ends as ``train`` would leave it, in a folder from which it continues alone or with any
    others. ``callbacks`` are called for the first unfinished run, after its own ones. Raises
    UsageError for what cannot train together, and as ``train`` does.

    Example::

        seeds = [replace(PRESETS["dqn"], seed=seed) for seed in range(8)]
        train_together(seeds, [f"runs/dqn-s{x.seed}" for x in seeds])
    """
    runtime = pick_runtime(options.device, options.threads, options.precision, options.compile)
    _check_options(experiments, options, str(runtime.device.type))
    quiet = replace(options, quiet=True, random_play_seconds=0.0)
    processes, runs = list[AgentTraining](), list[Run]()
    with ExitStack() as stack:
        for experiment, folder in zip(experiments, folders, strict=True):
            own = replace(quiet, quiet=options.quiet or bool(processes))
            extra = () if processes else callbacks
            run, process = stack.enter_context(
                opened(AgentTraining, experiment, folder, own, runtime, extra)
            )
            runs.append(run)
            if isinstance(process, AgentTraining):
                processes.append(process)
        if not processes:
            return runs
        signals = processes[0].signals
        _check_parts(experiments[0], processes[0].agent, processes[0].envs)
        with stopped_runs(processes), interrupts(signals):
            for process in processes:
                random_state.seed_all(process.job.seed)
                process.begin()
                process.generators = random_state.capture()
            _advance(
                processes, signals, SessionClock(options.max_minutes, options.checkpoint_minutes)
            )
        for process in processes:
            process.run.signal = next(iter(signals), 0)
            process.end()
    if not options.quiet:
        finished = sum(run.finished for run in runs)
        print(f"{finished} of {len(runs)} seeds are finished: {', '.join(map(str, folders))}")
    return runs


def check_trains_together(experiment: Experiment, options: TrainOptions) -> None:
    """Raise UsageError if several seeds of an experiment cannot train together; starts no run."""
    runtime = pick_runtime(options.device, options.threads, options.precision, options.compile)
    _check_options([experiment], options, str(runtime.device.type))
    envs = BatchedEnv(build_env(experiment, 1, 1))
    envs.close()
    spec = replace(envs.spec, num_envs=experiment.num_envs)
    agent = experiment.agent.build(
        spec, seed=experiment.seed, device=runtime.device, precision=runtime.precision
    )
    _check_parts(experiment, agent, envs)


def _check_parts(experiment: Experiment, agent: Agent, envs: BatchedEnv) -> None:
    """Raise UsageError if an agent or its envs cannot be those of several seeds."""
    check_together(agent)
    if not isinstance(envs, EmulatorEnvs):
        raise UsageError(
            f"The envs of {experiment.env.env_name} are computed as tensors of one run, so its "
            "seeds cannot train together; leave out --seeds-together."
        )


def _check_options(experiments: Sequence[Experiment], options: TrainOptions, device: str) -> None:
    """Raise UsageError unless the runs differ in their seed alone and would be those alone."""
    first = experiments[0]
    if not started_ranks().alone:
        raise UsageError(
            "Seeds train together in one process; leave out torchrun, or --seeds-together."
        )
    if any(replace(x, seed=first.seed) != first for x in experiments):
        raise UsageError("Runs that train together differ in their seed alone.")
    if len({x.seed for x in experiments}) < len(experiments):
        raise UsageError("Two runs that train together have the same seed; give each its own.")
    for name, value, needed, flag in (
        ("device", device, "cpu", "--device cpu"),
        ("precision", options.precision, "fp32", "--precision fp32"),
        ("compile", options.compile, False, "--no-compile"),
        ("pipeline", options.pipeline, 1, "--pipeline 1"),
    ):
        if value != needed:
            raise UsageError(
                f"{name} is {value}, with which seeds that train together are not bit for bit the "
                f"runs that they are alone; choose {flag}, or leave out --seeds-together."
            )


def _advance(processes: Sequence[AgentTraining], signals: list[int], clock: SessionClock) -> None:
    """Train all runs to their end, the time limit or a signal; those behind catch up first."""
    while not (signals or clock.time_is_up):
        unfinished = [process for process in processes if not process.is_done]
        if not unfinished:
            return
        first = min(unfinished, key=lambda process: process.step)
        # Runs whose rollouts end at other steps, after new episodes, do not learn together.
        place = first.step, first.timestep
        group = [process for process in unfinished if (process.step, process.timestep) == place]
        until = min((x.step for x in unfinished if x.step > first.step), default=None)
        with closing(SeedGroup(group)) as runs:
            runs.advance(until, signals, clock)


class SeedGroup:
    """Runs of several seeds at the same step, which advance together."""

    def __init__(self, processes: Sequence[AgentTraining]) -> None:
        self.processes, first = list(processes), processes[0]
        self.agent = together([x.agent for x in processes])
        self.envs = SeedEnvs(
            build_env(
                first.job,
                len(processes) * first.job.num_envs,
                first.runtime.threads,
                privileged=first.options.count_rooms,
            ),
            seeds=[x.job.seed for x in processes],
            device=first.runtime.device,
        )
        self.start: tuple[TimeStep, Carry] | None = None
        if first.now is not None:
            self.envs.load_state_dicts([x.env_state() for x in processes])
            steps, carries = zip(*(x.now for x in processes if x.now), strict=True)
            self.start = concat_timesteps(list(steps)), concat_states(carries)

    def close(self) -> None:
        """Free the envs."""
        self.envs.close()

    def advance(self, until: int | None, signals: list[int], clock: SessionClock) -> None:
        """Train until a step, the end of the runs, the time limit or a signal."""
        first, loop = self.processes[0], self._iterate()
        while not first.is_done and (until is None or first.step < until):
            next(loop)
            stop = first.is_done or first.step == until or bool(signals) or clock.time_is_up
            if stop or clock.checkpoint_is_due:
                self._save()
                clock.restart()
            if stop:
                break

    def _iterate(self) -> Iterator[None]:
        """Make timesteps of all envs, learn from them, and hand each run what is its own."""
        count, first = len(self.processes), self.processes[0]
        split = _Splitter(count)
        for t in interact(self.envs, self.agent, start=self.start, timestep=first.timestep):
            own = split(t)
            pairs = zip(self.processes, own, strict=True)
            bonus = torch.cat([process.bonus_of(own_t) for process, own_t in pairs])
            metrics = self.agent.learn(t.with_bonus(bonus))
            rows = zip(self.processes, own, bonus.chunk(count), metrics, strict=True)
            for process, own_t, own_bonus, own_metrics in rows:
                process.count(own_t)
                row = {**process.bonus_metrics(own_bonus), **own_metrics}
                process.consume(own_t.with_bonus(own_bonus), row)
            yield

    def _save(self) -> None:
        """Write a checkpoint of every run, as it would be alone."""
        self.agent.share()
        for process, state in zip(self.processes, self.envs.state_dicts(), strict=True):
            process.env_state = state.copy
            process.save()


class _Splitter:
    """Splits the transitions of a loop into those of each seed, by views."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.last: tuple[TimeStep, list[TimeStep], list[Carry]] | None = None

    def __call__(self, t: Transition) -> list[Transition]:
        if self.last is None or self.last[0] is not t.step:
            steps, carries = self._steps(t.step), split_states(t.carry, self.count)
        else:
            _, steps, carries = self.last
        next_steps, next_carries = self._steps(t.next_step), split_states(t.next_carry, self.count)
        self.last = t.next_step, next_steps, next_carries
        action, bonus = t.action.chunk(self.count), t.bonus.chunk(self.count)
        extras = split_states(t.extras, self.count)
        return [
            Transition(*fields_of_seed)
            for fields_of_seed in zip(
                steps, carries, action, extras, next_steps, next_carries, bonus, strict=True
            )
        ]

    def _steps(self, step: TimeStep) -> list[TimeStep]:
        return [TimeStep(**columns) for columns in split_states(step.columns(), self.count)]
