"""Ablations: parts exchanged for one another, over games and seeds.

Each combination of choices such as ``bonus:none,pseudo-count`` is a cell of the grid. Every cell is
run in every game with every seed, and each run equals that of the same ``reverie train`` command.
"""

import itertools
import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ..config.arguments import take_flag
from ..config.presets import default_folder
from ..evaluation.evaluate import with_protocol
from ..reporting.committed import RESULTS, compact_json
from ..reporting.comparison import compare, summary
from ..reporting.report import write_report
from ..reporting.run_results import read_results
from ..training.command_line import parse_experiment
from .estimate import estimate_sps
from .grid import Cell, make_grid
from .local_pool import LocalPool
from .tasks import Executor, Task, TaskResult

LOCAL_FLAGS = ("--folder", "--save", "--workers")
"""Flags that do not change results, and are left out of the committed command."""


@dataclass(frozen=True)
class AblateOptions:
    """How a grid is run; every other flag is one of ``reverie train`` and holds for all cells."""

    games: str = ""
    """atari26, atari57, hard or names separated by commas; by default the preset's own env."""
    seeds: int = 3
    """Number of seeds of each cell, from 0."""
    episodes: int = 30
    """Episodes of each run's final evaluation."""
    protocols: str = ""
    """Protocols of further evaluations, separated by commas, in addition to the run's own."""
    stochastic: bool = False
    """Evaluate agents that act as in training, without the protocol's epsilon; PPO samples from its
    policy."""
    video: bool = True
    """Write a video of an episode of each cell's first seed, for the report."""
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
        check(self, "", at_least(1), "seeds", "episodes", "threads")
        check(self, "", at_least(0), "workers", "steps_per_second", "retries")


def ablate(argv: list[str], options: AblateOptions, command: list[str]) -> int:
    """Run the unfinished runs of a grid, and write a report.

    ``argv`` defines the cells (see ``make_grid``); ``command`` is all arguments of the command.
    Returns the exit status: 0, 1 if runs failed, 130 if interrupted.
    """
    cells = make_grid(argv, options.games)
    tasks = make_tasks(cells, options)
    unfinished = [task for task in tasks if not task.done]
    _print_grid(cells, tasks, unfinished, options)
    if options.dry_run:
        return 0
    if unfinished:
        try:
            failed = _execute(unfinished, options)
        except KeyboardInterrupt:
            print("Interrupted: the same command continues.")
            return 130
        if failed:
            print(f"{failed} runs failed; the same command retries them.")
            return 1
    folder = tasks[0].folder.parent
    runs = [task.folder for task in tasks]
    path = write_report(runs, folder / "report.html", runs[0].name, stochastic=options.stochastic)
    print(f"report: {path} and {path.with_suffix('.md')}")
    if options.save:
        path = save_results(options.save, command, runs, stochastic=options.stochastic)
        print(f"wrote {path}")
    return 0


def make_tasks(cells: list[Cell], options: AblateOptions) -> list[Task]:
    """Return a task for every cell and seed, ordered by seed."""
    preset, timesteps = cells[0].argv[0], cells[0].experiment.total_timesteps
    folder = Path(options.folder or f"runs/ablate/{preset}-{timesteps}").resolve()
    tasks = []
    for seed, cell in itertools.product(range(options.seeds), cells):
        argv = (*cell.argv, "--seed", str(seed))
        _, (experiment,), _ = parse_experiment([*argv])
        env = experiment.env.eval_env
        names = filter(None, map(str.strip, options.protocols.split(",")))
        protocols = tuple(name for name in names if with_protocol(env, name) is not env)
        tasks.append(
            Task(
                argv,
                folder / default_folder(preset, experiment).name,
                experiment.total_timesteps,
                episodes=options.episodes,
                protocols=protocols,
                stochastic=options.stochastic,
                video=options.video and not seed,
                threads=options.threads,
            )
        )
    return tasks


def save_results(
    name: str, command: list[str], runs: list[Path], *, stochastic: bool = False
) -> Path:
    """Write the raw scores of a grid to the committed results, and return the file.

    Raises UsageError if the runs differ in protocol or length, so that one table cannot hold them.
    """
    comparisons = compare(read_results(runs, stochastic=stochastic)[0], runs[0].name)
    if len(comparisons) > 1:
        titles = "; ".join(comparison.title for comparison in comparisons)
        raise UsageError(f"--save takes runs of one protocol and length, not {titles}.")
    for flag in LOCAL_FLAGS:
        command, _ = take_flag(command, flag)
    data = {"name": name, "command": shlex.join(["reverie", "ablate", *command])}
    path = RESULTS / "ablations" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compact_json(data | summary(comparisons[0])))
    return path


def _execute(tasks: list[Task], options: AblateOptions) -> int:
    """Execute tasks, print each result, and return the number of failures."""
    executor = _make_executor(options)
    start_time = time.monotonic()
    results: list[TaskResult] = []
    try:
        with _sigterm_as_interrupt():
            for result in executor.execute(tasks):
                results.append(result)
                print(f"[{len(results)}/{len(tasks)}] {_describe(result)}", flush=True)
    finally:
        executor.stop()
    duration = time.monotonic() - start_time
    seconds = sum(result.seconds for result in results)
    overhead = sum(result.overhead for result in results)
    share = f"; scheduling added {overhead / seconds:.1%}" if seconds and not options.ray else ""
    print(
        f"{len(tasks)} runs in {duration:,.0f} s; training and evaluation took {seconds:,.0f} s"
        f"{share}."
    )
    return sum(bool(result.error) for result in results)


def _make_executor(options: AblateOptions) -> Executor:
    if options.ray:
        from .ray_pool import RayPool

        return RayPool(options.ray, options.threads, options.retries)
    return LocalPool(_num_workers(options), options.threads, options.retries)


def _num_workers(options: AblateOptions) -> int:
    return options.workers or max(1, len(os.sched_getaffinity(0)) // options.threads)


def _print_grid(
    cells: list[Cell], tasks: list[Task], unfinished: list[Task], options: AblateOptions
) -> None:
    """Print the cells and the remaining steps and, with --dry-run, an estimate of the duration."""
    seeds = options.seeds
    print(f"{len(cells)} cells x {seeds} seeds = {len(tasks)} runs in {tasks[0].folder.parent}")
    for cell in cells:
        env, steps = cell.experiment.env, cell.experiment.total_timesteps
        print(
            f"  {cell.label or cell.argv[0]}: {env.env_name}, protocol {env.protocol_label}, "
            f"{steps:,} steps ({steps * env.frame_skip:,} frames)"
        )
    remaining = [
        max(0, task.total_timesteps - task.trained_timesteps) if task in unfinished else 0
        for task in tasks
    ]
    print(
        f"{len(tasks) - len(unfinished)} finished before; {len(unfinished)} to run, "
        f"{sum(remaining):,} agent steps"
    )
    if options.dry_run and unfinished:
        _print_estimate(tasks, remaining, options)


def _print_estimate(tasks: list[Task], remaining: list[int], options: AblateOptions) -> None:
    if options.steps_per_second:
        sps, source = [options.steps_per_second] * len(tasks), "given by --steps-per-second"
    else:
        sps, source = estimate_sps(tasks)
    hours = sum(steps / each for steps, each in zip(remaining, sps, strict=True)) / 3600
    workers = _num_workers(options)
    elapsed = f"{workers} at a time, {hours / workers:,.2f} hours"
    print(
        f"About {hours:,.2f} hours of {options.threads} thread{'s' * (options.threads > 1)} at "
        f"{_range_text(sps)} agent steps/s per run ({source}), without evaluation; "
        f"{'on the cluster' if options.ray else elapsed}"
    )


def _range_text(values: list[float]) -> str:
    low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
    return low if low == high else f"{low} to {high}"


def _describe(result: TaskResult) -> str:
    name = result.task.folder.name
    crashes = f", after {result.crashes} crashes of its process" if result.crashes else ""
    if result.error:
        return f"{name} FAILED{crashes}: {result.error}"
    return f"{name} in {result.seconds:,.0f} s{crashes}"


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, as on Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
