"""Random search and successive halving over the trials of a sweep.

With one rung every trial is trained to the end (Bergstra & Bengio 2012, "Random search for
hyper-parameter optimization"). With several, the best trials of a rung continue from their
checkpoints to the next (Jamieson & Talwalkar 2016, "Non-stochastic best arm identification").
Which ones go on is a function of the recorded scores, so that a command that continues a sweep
repeats the choices.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..ablation.execution import execute, make_executor
from ..runs.files import write_file
from ..runs.outputs import check_writable
from ..runs.run import refuse_links
from ..text.terminal_text import counted, paragraph
from ..training.envs import check_true_state
from ..training.task import Task
from .leaderboard import leaderboard, next_steps, ranked, trial_table
from .space import refusals
from .sweep_plan import SweepPlan, Trial
from .sweep_record import SweepRecord

BEST = "best.yaml"
"""The config of the best trial, in the folder of a sweep."""


def sweep(plan: SweepPlan) -> int:
    """Run the unfinished runs of a sweep, print its best trials and write the best one's config.

    Returns the exit status, 0, or 1 if a trial has no score. Raises KeyboardInterrupt if
    interrupted, and UsageError if the folder holds another sweep.
    """
    check_true_state(plan.base)
    refuse_links(plan.folder, [run for trial in plan.trials for run in trial.runs])
    record = SweepRecord(plan)
    print(describe(plan))
    if plan.options.dry_run:
        print(trial_table(plan))
        return 0
    check_writable(record.path, plan.folder / BEST, remedy="choose another --folder")
    record.write()
    try:
        failed = run_rungs(plan, record)
    except KeyboardInterrupt:
        print("Interrupted: the same command continues.")
        raise
    if failed:
        numbers = ", ".join(str(trial.number) for trial in failed)
        print(
            paragraph(
                f"Without a score: {numbers}. A run of each failed, or ended no episode; the same "
                "command retries the failed ones."
            )
        )
    best = next(iter(ranked(plan, record)), None)
    if best is None:
        print("No trial has a score.")
        return 1
    print(leaderboard(plan, record))
    write_file(plan.folder / BEST, plan.text(best))
    print(next_steps(plan, plan.folder / BEST))
    return int(bool(failed))


def run_rungs(plan: SweepPlan, record: SweepRecord) -> list[Trial]:
    """Train the trials from rung to rung, and return those with a run that has no score."""
    executor = make_executor(plan.options)
    alive, failed = [*plan.trials], list[Trial]()
    for steps in plan.rungs:
        tasks = [task for trial in alive for task in plan.tasks(trial, steps)]
        if unfinished := record.unfinished(tasks):
            print(
                f"Up to step {steps:,}: {counted(len(unfinished), 'run')} of "
                f"{counted(len(alive), 'trial')}.",
                flush=True,
            )
            for result in execute(executor, unfinished, 1):
                if isinstance(result.task, Task) and result.task.scores:
                    record.add(result.task)
        failed += [trial for trial in alive if record.mean(trial, steps) is None]
        alive = survivors(plan, record, alive, steps)
    return failed


def survivors(
    plan: SweepPlan, record: SweepRecord, trials: Sequence[Trial], timesteps: int
) -> list[Trial]:
    """Return the best trials of a rung, which continue: one in every ``halving``, at least one.

    Of equal ones the first comes first. A trial with a failed run does not continue.
    """
    scored = [(record.mean(trial, timesteps), trial) for trial in trials]
    best = sorted(
        ((mean, trial) for mean, trial in scored if mean is not None),
        key=lambda pair: -pair[0],
    )
    count = max(1, len(trials) // max(1, plan.options.halving))
    return [trial for _, trial in best[:count]]


def describe(plan: SweepPlan) -> str:
    """Return what a sweep varies and trains, in lines that fit the terminal."""
    options, count, rungs = plan.options, len(plan.trials), plan.rungs
    runs = f"{counted(count, 'trial')} x {counted(options.seeds, 'seed')}"
    lines = [f"{runs} in {plan.folder}"]
    lines += [f"  {x.path}: {x.text}{', logarithmic' * x.log}" for x in plan.space]
    if count < options.trials:
        start = f"There {'is' if count == 1 else 'are'} {counted(count, 'different trial')}"
        refused = " ".join(f"Refused: {text}" for text in refusals(plan.space, plan.base))
        lines.append(paragraph(f"{start}, fewer than --trials. {refused}".strip()))
    first = [replace(x.experiment, total_timesteps=rungs[0]).warning for x in plan.trials]
    for why, number in Counter(first).items():
        if why:
            of_rung = f" up to step {rungs[0]:,}" * (len(rungs) > 1)
            trials = counted(number, "trial")
            lines.append(paragraph(f"In the runs of {trials}{of_rung} {why}"))
    total, before = 0, 0
    for steps in rungs:
        total += count * options.seeds * (steps - before)
        if len(rungs) > 1:
            lines.append(f"  {counted(count, 'trial')} up to step {steps:,}")
        before, count = steps, max(1, count // max(1, options.halving))
    lines.append(f"{total:,} agent steps in all; score {options.score}")
    return "\n".join(lines)
