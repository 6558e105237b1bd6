"""Estimate of the throughput of a grid's runs, from their metrics or from short trials."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from statistics import harmonic_mean  # over equal numbers of steps, so that durations add up
from typing import Any

from ...envs.atari.atari import AtariConfig
from ...envs.errors import UsageError
from ..config.experiment import Experiment
from ..runs.run import Run
from ..training.options import TrainOptions
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
        source = f"trials of {seconds:.0f} s per variant; later steps may be slower"
    overall = [rate for values in rates.values() for rate in values]
    return [harmonic_mean(rates[variant] or overall) for variant in variants], source


def _variant(experiment: Experiment, first: Experiment) -> Experiment:
    """Return the experiment with seed 0 and, for Atari, the game of the ``first`` one."""
    env = experiment.env
    if isinstance(env, AtariConfig) and isinstance(first.env, AtariConfig):
        env = replace(env, game=first.env.game)
    return replace(experiment, env=env, seed=0)


def _run_trial(experiment: Experiment, options: TrainOptions) -> float:
    """Train in a temporary folder for a few seconds, and return the agent steps per second."""
    options = replace(
        options, max_minutes=TRIAL_MINUTES, log_every=10 * experiment.num_envs, quiet=True
    )
    experiment = replace(experiment, agent=_with_short_warmup(experiment.agent))
    with tempfile.TemporaryDirectory() as folder:
        run = train(experiment, folder, options)
        rows = run.read_lines("metrics.jsonl")
    run.raise_interrupted()
    if not rows:
        raise UsageError(
            f"Ten timesteps took more than {60 * TRIAL_MINUTES:.0f} s; give the agent steps per "
            "second by --steps-per-second."
        )
    # In the first half the agent may not learn yet, and caches are cold.
    return float(harmonic_mean([row["charts/SPS"] for row in rows[len(rows) // 2 :]]))


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
