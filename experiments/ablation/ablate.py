"""Ablations: parts exchanged for one another, over envs and seeds.

Each combination of choices such as ``bonus:none,pseudo-count`` is a cell of the grid. Every cell is
run in every env with the same seeds, and each run equals that of the same ``reverie train``
command.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from ...envs.errors import UsageError
from ..config.experiment import Experiment
from ..reporting.committed import RESULTS, require_checkout, write_result
from ..reporting.comparison import compare
from ..reporting.report import write_report
from ..reporting.run_results import read_results
from ..runs.outputs import check_writable
from ..runs.runtime import raising_interrupted
from ..training.envs import check_true_state
from ..training.task import Task
from ..verdicts.verdict_rule import VerdictRule, write_rule
from .ablate_options import AblateOptions
from .design import print_design
from .estimate import print_estimate
from .executor import Executor, TaskResult
from .grid import Grid
from .grid_tasks import cell_of, check_seeds_together, make_tasks, seeds_together, tasks_of
from .local_pool import LocalPool
from .rounds import run_rounds


def ablate(grid: Grid, options: AblateOptions, command: str = "") -> int:
    """Run the unfinished runs of a grid, and write a report.

    ``command`` repeats the grid. Returns the exit status, 0, or 1 if runs failed. Raises
    KeyboardInterrupt if interrupted, and UsageError if the folder holds a grid of another rule.
    """
    if options.save:
        require_checkout("reverie ablate --save")
    for experiment in grid.cells:
        check_true_state(experiment)
    tasks, rule, stochastic = make_tasks(grid, options), options.rule, options.evaluation.stochastic
    variants = {tuple(x for x in each if x.role != "env") for each in grid.cells.values()}
    if options.until == "decided" and len(variants) == 1:
        raise UsageError(
            "--until decided needs choices to decide between, and every env has one; give a role "
            "several, as in bonus:none,simhash, or choose a number of --seeds."
        )
    check_seeds_together(grid, options.threads)
    folder = tasks[0].folder.parent
    report, saved = folder / "report.html", RESULTS / "ablations" / f"{options.save}.json"
    if options.dry_run:
        _print_grid(grid, tasks, options)
        print_estimate(tasks, grid.options.seeds_together, options)
        print_design(grid, tasks, options, command)
        return 0
    check_writable(report, report.with_suffix(".md"), remedy="choose another --folder")
    if options.save:
        check_writable(saved, remedy="leave out --save, or make it writable")
    write_rule(folder, rule)
    _print_grid(grid, tasks, options)
    executor = _executor(options)

    def execute(unfinished: Sequence[Task]) -> None:
        _execute(executor, unfinished, grid.options.seeds_together)

    try:
        failed = run_rounds(tasks, rule, execute, stochastic=stochastic)
    except KeyboardInterrupt:
        print("Interrupted: the same command continues.")
        raise
    if failed:
        cells = dict.fromkeys(map(cell_of, failed))
        names = "; ".join(f"{_choices(grid, x)} in {x.env.env_name}" for x in cells)
        print(f"{len(failed)} runs failed, of {names}; the same command retries them.")
    runs = [task.folder for task in tasks if task.scores]
    first = [x.folder for x in tasks if cell_of(x) == cell_of(tasks[0]) and x.scores]
    if not first:
        print("There is no report, because no run of the baseline is finished.")
        return 1
    write_report(runs, report, first[0].name, stochastic=stochastic, flag="--folder")
    print(f"report: {report} and {report.with_suffix('.md')}")
    if failed:
        return 1
    if options.save:
        save_results(options.save, saved, command, runs, rule, stochastic=stochastic)
    return 0


def save_results(
    name: str, path: Path, command: str, runs: list[Path], rule: VerdictRule, *, stochastic: bool
) -> None:
    """Write the raw scores of a grid to the committed results.

    Raises UsageError if the runs differ in protocol or length, so that one table cannot hold them.
    """
    comparisons = compare(read_results(runs, stochastic=stochastic)[0], runs[0].name, rule)
    if len(comparisons) > 1:
        titles = "; ".join(comparison.title for comparison in comparisons)
        raise UsageError(f"--save takes runs of one protocol and length, not {titles}.")
    data = {"name": name, "command": command, **comparisons[0].to_json()}
    write_result(path, data)


def _executor(options: AblateOptions) -> Executor:
    """Return the processes that execute the tasks."""
    if options.ray:
        from .ray_pool import RayPool

        return RayPool(options.ray, options.threads, options.retries)
    return LocalPool(options.num_workers, options.threads, options.retries)


def _execute(executor: Executor, tasks: Sequence[Task], count: int) -> None:
    """Execute tasks, up to ``count`` seeds of a cell in one process, and print each result."""
    work = seeds_together(tasks, count)
    start_time, results = time.monotonic(), list[TaskResult]()
    with raising_interrupted():
        try:
            for result in executor.execute(work):
                results.append(result)
                done = sum(len(tasks_of(x.task)) for x in results)
                print(f"[{done}/{len(tasks)}] {result}", flush=True)
        finally:
            executor.stop()
    seconds = sum(result.seconds for result in results)
    overhead = sum(result.overhead for result in results)
    share = f"; scheduling added {overhead / seconds:.1%}" if seconds and overhead else ""
    print(
        f"{len(tasks)} runs in {time.monotonic() - start_time:,.0f} s; training and evaluation "
        f"took {seconds:,.0f} s{share}."
    )


def _choices(grid: Grid, cell: Experiment) -> str:
    """Return what distinguishes a cell from others."""
    return " ".join(map(str, grid.cells[cell])) or grid.preset


def _print_grid(grid: Grid, tasks: Sequence[Task], options: AblateOptions) -> None:
    """Print the rule, the cells and the remaining steps."""
    cells, seeds, folder = len(grid.cells), len(tasks) // len(grid.cells), tasks[0].folder.parent
    at_most = "up to " * (options.until == "decided")
    print(f"{cells} cells x {at_most}{seeds} seeds = {at_most}{len(tasks)} runs in {folder}")
    for experiment in grid.cells:
        env, steps = experiment.env, experiment.total_timesteps
        print(
            f"  {_choices(grid, experiment)}: {env.env_name}, protocol {env.protocol_label}, "
            f"{steps:,} steps ({steps * env.frame_skip:,} frames)"
        )
    print(f"rule: {options.rule}")
    unfinished = [task for task in tasks if not task.scores]
    print(
        f"{len(tasks) - len(unfinished)} finished before; {at_most}{len(unfinished)} to run, "
        f"{at_most}{sum(task.remaining_timesteps for task in unfinished):,} agent steps"
    )
