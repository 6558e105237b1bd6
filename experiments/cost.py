"""What the rest of a grid will cost: agent steps over the rates of runs, measured or tried."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from statistics import harmonic_mean
from typing import Any

from envs.atari import AtariConfig
from envs.errors import UsageError
from experiments.config import Experiment
from experiments.parse import parse_experiment
from experiments.run import Run
from experiments.tasks import Task
from experiments.training import TrainOptions, train

TRIAL_MINUTES = 1 / 6
TRIAL_WAIT = 500  # agent steps before a trial learns
WAITS = ("learning_starts", "fit_after", "fit_steps")


def rates(tasks: Sequence[Task]) -> tuple[list[float], str]:
    """Agent steps a second of each task, and whence they are known.

    The mean over runs of its variant that have begun, else over all that have. Where none has
    begun, every variant is trained for a few seconds, as its words say, and nothing of it is kept.
    Raises KeyboardInterrupt where a trial was interrupted.
    """
    jobs = [_job(task) for task in tasks]
    variants = [_variant(experiment, jobs[0][0]) for experiment, _ in jobs]
    known: dict[Experiment, list[float]] = {}
    for variant, task in zip(variants, tasks, strict=True):
        if rate := _rate(Run(task.folder).read_lines("metrics.jsonl")):
            known.setdefault(variant, []).append(rate)
    if count := sum(map(len, known.values())):
        source = f"measured in {count} run{'s' * (count > 1)}"
    else:
        for variant, (_, options) in zip(variants, jobs, strict=True):
            if variant not in known:
                known[variant] = [_tried(variant, options)]
        source = f"tried for {60 * TRIAL_MINUTES:.0f} s a variant; later steps may be slower"
    every = _mean(rate for each in known.values() for rate in each)
    means = {variant: _mean(each) for variant, each in known.items()}
    return [means.get(variant, every) for variant in variants], source


def _variant(experiment: Experiment, first: Experiment) -> Experiment:
    """What runs of any seed and Atari game have in common."""
    env = experiment.env
    if isinstance(env, AtariConfig) and isinstance(first.env, AtariConfig):
        env = replace(env, game=first.env.game)
    return replace(experiment, env=env, seed=0)


def _job(task: Task) -> tuple[Experiment, TrainOptions]:
    _, (experiment,), options = parse_experiment([*task.words])
    return experiment, replace(options, threads=task.threads)


def _tried(experiment: Experiment, options: TrainOptions) -> float:
    options = replace(
        options,
        minutes=TRIAL_MINUTES,
        log_every=10 * experiment.streams,
        bare_seconds=0,
        quiet=True,
    )
    experiment = replace(experiment, agent=_learning_soon(experiment.agent))
    with tempfile.TemporaryDirectory() as folder:
        run = train(experiment, folder, options)
        rows = run.read_lines("metrics.jsonl")
    if run.interrupted:
        raise KeyboardInterrupt
    if not rows:
        raise UsageError(
            f"Ten ticks took more than {60 * TRIAL_MINUTES:.0f} s; state agent steps/s by --rate."
        )
    # The first half is nothing learned yet, and caches that fill.
    return _mean(row["time/steps_per_second"] for row in rows[len(rows) // 2 :])


def _learning_soon(config: Any) -> Any:
    """The same, where the wait before anything is learned is short."""
    changed = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in WAITS:
            changed[field.name] = min(value, TRIAL_WAIT)
        elif is_dataclass(value):
            changed[field.name] = _learning_soon(value)
    return replace(config, **changed)


def _rate(rows: list[dict[str, Any]]) -> float:
    return float(rows[-1].get("time/mean_steps_per_second", 0)) if rows else 0.0


def _mean(rates: Iterable[float]) -> float:
    """Of rates over equal steps: hours add up."""
    return float(harmonic_mean([*rates]))
