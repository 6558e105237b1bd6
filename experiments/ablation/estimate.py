"""Estimate of a grid's duration, from the metrics of its runs or from short trials."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from statistics import harmonic_mean  # over equal numbers of steps, so that durations add up
from typing import Any

from ...envs.errors import UsageError
from ...envs.interface import Transition
from ..config.experiment import Experiment
from ..runs.jsonl import is_number
from ..runs.progress_text import duration
from ..runs.run import Run
from ..sessions.callbacks import Callback
from ..sessions.options import TrainOptions
from ..text.terminal_text import paragraph
from ..training.task import Task
from ..training.train import train
from ..training.train_together import train_together
from .ablate_options import AblateOptions
from .grid_tasks import AnyTask, of_first_seeds, seeds_together, tasks_of

TRIAL_MINUTES = 1 / 6
TRIAL_WARMUP = 500
"""Largest number of agent steps before an agent learns in a trial."""
WARMUP_FIELDS = ("learning_starts", "fit_after", "fit_updates")
"""Config fields whose values are reduced to it."""


def print_estimate(tasks: Sequence[Task], count: int, options: AblateOptions) -> None:
    """Print the duration of a grid's unfinished tasks, of which ``count`` seeds train together."""
    if not any(not task.scores for task in tasks):
        return
    *_, last = analyses = options.rule.analyses
    work = [
        each
        for begin, end in pairwise((0, *analyses))
        for each in seeds_together(
            of_first_seeds(tasks, end)[len(of_first_seeds(tasks, begin)) :], count
        )
    ]
    if options.steps_per_second:
        rates, source = [options.steps_per_second] * len(work), "given by --steps-per-second"
    else:
        rates, source = estimate_sps(work)
    for n in dict.fromkeys((analyses[0], last)):
        seconds = sum(
            max(task.remaining_timesteps for task in tasks_of(each)) / rate
            for each, rate in zip(work, rates, strict=True)
            if tasks_of(each)[0].experiment.seed < options.first_seed + n
        )
        elapsed = f"{duration(seconds / options.num_workers)} with {options.num_workers} at a time"
        whose = f", for {n} seeds of every cell" if len(analyses) > 1 else ""
        print(
            f"About {duration(seconds)} of {options.threads} thread{'s' * (options.threads > 1)} "
            f"in all, {'on the cluster' if options.ray else elapsed}, without evaluation{whose}."
        )
    extremes = dict.fromkeys(f"{rate:,.0f}" for rate in (min(rates), max(rates)))
    per = f"run, {count} of which train together" if count > 1 else "run"
    print(paragraph(f"It rests on {' to '.join(extremes)} agent steps/s per {per}, {source}."))


def estimate_sps(work: Sequence[AnyTask]) -> tuple[list[float], str]:
    """Return the agent steps per second of each process's runs, and the source of the numbers.

    An estimate is the mean over the started runs of a variant, else over all started runs; runs
    that train together count with their own speed, at which the others of the process train, too.
    If no run has started, each variant is trained for a few seconds in a temporary folder. Raises
    KeyboardInterrupt if a trial is interrupted.
    """
    first = tasks_of(work[0])[0].experiment
    variants = [_variant(tasks_of(each)[0].experiment, first) for each in work]
    rates: dict[Experiment, list[float]] = defaultdict(list)
    largest: dict[Experiment, int] = defaultdict(int)
    for variant, each in zip(variants, work, strict=True):
        largest[variant] = max(largest[variant], len(tasks_of(each)))
        for task in tasks_of(each):
            rate = Run(task.folder).last_line("metrics.jsonl").get("charts/mean_SPS", 0)
            rates[variant] += [rate] if is_number(rate) and rate > 0 else []
    if count := sum(map(len, rates.values())):
        source = f"measured in {count} run{'s' * (count > 1)}"
    else:
        for variant, num_seeds in largest.items():
            rates[variant] = [_run_trial(variant, num_seeds, work[0].options)]
        seconds = 60 * TRIAL_MINUTES
        source = (
            f"measured after the first update in trials of {seconds:.0f} s per variant, one at a "
            "time; parallel runs and later steps may be slower"
        )
    overall = [rate for values in rates.values() for rate in values]
    return [harmonic_mean(rates[variant] or overall) for variant in variants], source


def _variant(experiment: Experiment, first: Experiment) -> Experiment:
    """Return the experiment with seed 0 and, among envs of games, the game of the ``first`` one."""
    env: Any = experiment.env
    other: Any = first.env
    if type(env) is type(other) and hasattr(env, "game"):
        env = replace(env, game=other.game)
    return replace(experiment, env=env, seed=0)


class Clock(Callback):
    """The wall time at each agent step, which rows of metrics would slow down."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []

    def on_transition(self, t: Transition, step: int) -> None:
        self.marks.append((step, time.perf_counter()))


def _run_trial(experiment: Experiment, num_seeds: int, options: TrainOptions) -> float:
    """Train seeds for a few seconds, together if several, and return the steps/s of each."""
    options = replace(options, max_minutes=TRIAL_MINUTES, quiet=True)
    experiment = replace(experiment, agent=_with_short_warmup(experiment.agent))
    clock = Clock()
    seeds = [replace(experiment, seed=seed) for seed in range(num_seeds)]
    with tempfile.TemporaryDirectory() as folder:
        if num_seeds == 1:
            run = train(experiment, folder, options, callbacks=[clock])
        else:
            folders = [f"{folder}/{seed}" for seed in range(num_seeds)]
            run, *_ = train_together(seeds, folders, options, callbacks=[clock])
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
