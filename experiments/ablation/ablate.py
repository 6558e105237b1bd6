"""Ablations: parts exchanged for one another, over games and seeds.

Each combination of choices such as ``bonus:none,pseudo-count`` is a cell of the grid. Every cell is
run in every game with every seed, and each run equals that of the same ``reverie train`` command.
"""

import itertools
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ..config.run_names import default_folder
from ..evaluation.run_evaluation import Evaluation, with_protocol
from ..reporting.committed import RESULTS, require_checkout, write_result
from ..reporting.comparison import compare
from ..reporting.report import write_report
from ..reporting.run_results import read_results
from ..runs.outputs import check_writable
from ..runs.progress_text import duration
from ..runs.runtime import raising_interrupted
from ..runs.terminal_text import paragraph
from ..training.envs import check_true_state
from ..training.task import Task
from .estimate import estimate_sps
from .executor import Executor, TaskResult
from .grid import Grid
from .local_pool import LocalPool


@dataclass(frozen=True)
class AblateOptions:
    """How a grid is run; every other flag is one of ``reverie train`` and holds for all cells."""

    games: str = ""
    """atari26, atari57, hard or names separated by commas; by default the preset's own env."""
    seeds: int = 3
    """Number of seeds of each cell, from 0."""
    evaluation: Annotated[Evaluation, tyro.conf.arg(name="")] = Evaluation(video=True)
    """The final evaluation of each run; the first seed of each cell alone has a video."""
    folder: str = ""
    """Folder of the runs and the report; by default runs/ablate/PRESET-STEPS."""
    workers: int = 0
    """Number of runs at a time; 0 for as many as the cores allow."""
    threads: int = 1
    """CPU threads of each run."""
    retries: int = 2
    """Number of times that a run is continued after its process dies."""
    ray: str = ""
    """Address of a Ray cluster to run on, such as auto, instead of this machine alone."""
    steps_per_second: float = 0.0
    """Agent steps per second of one run, for the estimate of --dry-run; by default measured in the
    grid's runs so far, or in a trial of ten seconds per variant."""
    save: str = ""
    """Name under which raw scores are committed, as experiments/results/ablations/NAME.json."""
    dry_run: bool = False
    """Print the grid and an estimate of its duration; run none of it."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "seeds", "threads")
        check(self, "", at_least(0), "workers", "steps_per_second", "retries")

    @property
    def num_workers(self) -> int:
        """Number of runs at a time on this machine."""
        return self.workers or max(1, len(os.sched_getaffinity(0)) // self.threads)


def ablate(grid: Grid, options: AblateOptions, command: str = "") -> int:
    """Run the unfinished runs of a grid, and write a report.

    ``command`` repeats the grid. Returns the exit status, 0, or 1 if runs failed. Raises
    KeyboardInterrupt if interrupted.
    """
    if options.save:
        require_checkout("reverie ablate --save")
    for experiment in grid.cells:
        check_true_state(experiment)
    tasks = make_tasks(grid, options)
    report = tasks[0].folder.parent / "report.html"
    saved = RESULTS / "ablations" / f"{options.save}.json"
    if not options.dry_run:
        check_writable(report, report.with_suffix(".md"), remedy="choose another --folder")
        if options.save:
            check_writable(saved, remedy="leave out --save, or make it writable")
    unfinished = [task for task in tasks if not task.scores]
    _print_grid(grid, tasks, unfinished)
    if options.dry_run:
        if unfinished:
            _print_estimate(tasks, unfinished, options)
        return 0
    if unfinished:
        try:
            failed = _execute(unfinished, options)
        except KeyboardInterrupt:
            print("Interrupted: the same command continues.")
            raise
        if failed:
            print(f"{failed} runs failed; the same command retries them.")
            return 1
    runs, stochastic = [task.folder for task in tasks], options.evaluation.stochastic
    write_report(runs, report, runs[0].name, stochastic=stochastic, flag="--folder")
    print(f"report: {report} and {report.with_suffix('.md')}")
    if options.save:
        save_results(options.save, saved, command, runs, stochastic=stochastic)
    return 0


def make_tasks(grid: Grid, options: AblateOptions) -> list[Task]:
    """Return a task for every cell and seed, ordered by seed."""
    timesteps = next(iter(grid.cells)).total_timesteps
    folder = Path(options.folder or f"runs/ablate/{grid.preset}-{timesteps}").resolve()
    tasks = []
    for seed, cell in itertools.product(range(options.seeds), grid.cells):
        experiment = replace(cell, seed=seed)
        env, evaluation = experiment.env.eval_env, options.evaluation
        others = [x for x in evaluation.protocols if with_protocol(env, x) is not env]
        tasks.append(
            Task(
                experiment,
                folder / default_folder(grid.preset, experiment).name,
                replace(grid.options, threads=options.threads, random_play_seconds=0.0),
                replace(evaluation, protocols=("", *others), video=evaluation.video and not seed),
            )
        )
    return tasks


def save_results(
    name: str, path: Path, command: str, runs: list[Path], *, stochastic: bool
) -> None:
    """Write the raw scores of a grid to the committed results.

    Raises UsageError if the runs differ in protocol or length, so that one table cannot hold them.
    """
    comparisons = compare(read_results(runs, stochastic=stochastic)[0], runs[0].name)
    if len(comparisons) > 1:
        titles = "; ".join(comparison.title for comparison in comparisons)
        raise UsageError(f"--save takes runs of one protocol and length, not {titles}.")
    data = {"name": name, "command": command, **comparisons[0].to_json()}
    write_result(path, data)


def _execute(tasks: list[Task], options: AblateOptions) -> int:
    """Execute tasks, print each result, and return the number of failures."""
    executor: Executor
    if options.ray:
        from .ray_pool import RayPool

        executor = RayPool(options.ray, options.threads, options.retries)
    else:
        executor = LocalPool(options.num_workers, options.threads, options.retries)
    start_time, results = time.monotonic(), list[TaskResult]()
    with raising_interrupted():
        try:
            for result in executor.execute(tasks):
                results.append(result)
                print(f"[{len(results)}/{len(tasks)}] {result}", flush=True)
        finally:
            executor.stop()
    seconds = sum(result.seconds for result in results)
    overhead = sum(result.overhead for result in results)
    share = f"; scheduling added {overhead / seconds:.1%}" if seconds and overhead else ""
    print(
        f"{len(tasks)} runs in {time.monotonic() - start_time:,.0f} s; training and evaluation "
        f"took {seconds:,.0f} s{share}."
    )
    return sum(bool(result.error) for result in results)


def _print_grid(grid: Grid, tasks: list[Task], unfinished: list[Task]) -> None:
    """Print the cells and the remaining steps."""
    cells, seeds = len(grid.cells), len(tasks) // len(grid.cells)
    print(f"{cells} cells x {seeds} seeds = {len(tasks)} runs in {tasks[0].folder.parent}")
    for experiment, choices in grid.cells.items():
        env, steps = experiment.env, experiment.total_timesteps
        print(
            f"  {' '.join(map(str, choices)) or grid.preset}: {env.env_name}, protocol "
            f"{env.protocol_label}, {steps:,} steps ({steps * env.frame_skip:,} frames)"
        )
    print(
        f"{len(tasks) - len(unfinished)} finished before; {len(unfinished)} to run, "
        f"{sum(task.remaining_timesteps for task in unfinished):,} agent steps"
    )


def _print_estimate(tasks: list[Task], unfinished: list[Task], options: AblateOptions) -> None:
    """Print the estimated duration of the unfinished tasks."""
    if options.steps_per_second:
        rates, source = [options.steps_per_second] * len(tasks), "given by --steps-per-second"
    else:
        rates, source = estimate_sps(tasks)
    seconds = sum(
        task.remaining_timesteps / rate
        for task, rate in zip(tasks, rates, strict=True)
        if task in unfinished
    )
    elapsed = f"{duration(seconds / options.num_workers)} with {options.num_workers} at a time"
    extremes = dict.fromkeys(f"{rate:,.0f}" for rate in (min(rates), max(rates)))
    print(
        f"About {duration(seconds)} of {options.threads} thread{'s' * (options.threads > 1)} in "
        f"all, {'on the cluster' if options.ray else elapsed}, without evaluation."
    )
    print(paragraph(f"It rests on {' to '.join(extremes)} agent steps/s per run, {source}."))
