"""Estimate of the throughput of a grid's runs, from their metrics or from short trials."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from statistics import harmonic_mean  # over equal numbers of steps, so that durations add up
from typing import Any

from ...envs.atari.atari import AtariConfig
from ...envs.errors import UsageError
from ...envs.interface import Transition
from ..config.experiment import Experiment
from ..runs.run import Run
from ..sessions.callbacks import Callback
from ..sessions.options import TrainOptions
from ..training.task import Task
from ..training.train import train

TRIAL_MINUTES = 1 / 6
TRIAL_WARMUP = 500
"""Largest number of agent steps before an agent learns in a trial."""
WARMUP_FIELDS = ("learning_starts", "fit_after", "fit_updates")
"""Config fields whose values are reduced to it."""


def estimate_sps(tasks: Sequence[Task]) -> tuple[list[float], str]:
    """Return the agent steps per second of each task, and the source of the numbers.

    A task's estimate is the mean over the started runs of its variant, else over all started runs.
    If no run has started, each variant is trained for a few seconds in a temporary folder. Raises
    KeyboardInterrupt if a trial is interrupted.
    """
    variants = [_variant(task.experiment, tasks[0].experiment) for task in tasks]
    rates: dict[Experiment, list[float]] = defaultdict(list)
    for variant, task in zip(variants, tasks, strict=True):
        rates[variant] += [
            row["charts/mean_SPS"] for row in Run(task.folder).read_lines("metrics.jsonl")[-1:]
        ]
    if count := sum(map(len, rates.values())):
        source = f"measured in {count} run{'s' * (count > 1)}"
    else:
        for variant in rates:
            rates[variant] = [_run_trial(variant, tasks[0].options)]
        seconds = 60 * TRIAL_MINUTES
        source = (
            f"measured after the first update in trials of {seconds:.0f} s per variant, one at a "
            "time; parallel runs and later steps may be slower"
        )
    overall = [rate for values in rates.values() for rate in values]
    return [harmonic_mean(rates[variant] or overall) for variant in variants], source


def _variant(experiment: Experiment, first: Experiment) -> Experiment:
    """Return the experiment with seed 0 and, for Atari, the game of the ``first`` one."""
    env = experiment.env
    if isinstance(env, AtariConfig) and isinstance(first.env, AtariConfig):
        env = replace(env, game=first.env.game)
    return replace(experiment, env=env, seed=0)


class Clock(Callback):
    """The wall time at each agent step, which rows of metrics would slow down."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []

    def on_transition(self, t: Transition, step: int) -> None:
        self.marks.append((step, time.perf_counter()))


def _run_trial(experiment: Experiment, options: TrainOptions) -> float:
    """Train in a temporary folder for a few seconds, and return the agent steps per second."""
    options = replace(options, max_minutes=TRIAL_MINUTES, quiet=True)
    experiment = replace(experiment, agent=_with_short_warmup(experiment.agent))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = train(experiment, folder, options, callbacks=[clock])
    run.raise_interrupted()
    agent, num_envs = experiment.agent, experiment.num_envs
    cycle = agent.rollout_length * num_envs
    return measured_sps(clock.marks, agent.first_update(num_envs), cycle)


def measured_sps(marks: Sequence[tuple[int, float]], first_update: int, cycle: int) -> float:
    """Return the agent steps per second after the first update, over whole cycles of updates.

    Of a trial that was too short for that, it is the speed of the second half. Raises UsageError
    for fewer than ten marks.
    """
    if len(marks) < 10:
        raise UsageError(
            f"Ten timesteps took more than {60 * TRIAL_MINUTES:.0f} s; give the agent steps per "
            "second by --steps-per-second."
        )
    learning = [mark for mark in marks if mark[0] >= first_update]
    if len(learning) < 10:
        learning = list(marks[len(marks) // 2 :])
    (first, start), (last, _) = learning[0], learning[-1]
    whole = first + (last - first) // cycle * cycle
    end, stop = next(mark for mark in learning if mark[0] >= (whole if whole > first else last))
    return (end - first) / (stop - start)


def _with_short_warmup(config: Any) -> Any:
    """Return the config with fewer agent steps before its parts learn."""
    changes = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in WARMUP_FIELDS:
            changes[field.name] = min(value, TRIAL_WARMUP)
        elif is_dataclass(value):
            changes[field.name] = _with_short_warmup(value)
    return replace(config, **changes)
