"""Ablations: parts exchanged for one another, over envs and seeds.

Each combination of choices such as ``bonus:none,pseudo-count`` is a cell of the grid. Every cell is
run in every env with the same seeds, and each run equals that of the same ``reverie train``
command.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..config.experiment import Experiment
from ..reporting.committed import RESULTS, require_checkout, write_result
from ..reporting.comparison import compare
from ..reporting.report import write_report
from ..reporting.run_results import read_results
from ..runs.outputs import check_writable
from ..runs.run import refuse_links
from ..sessions.executor import TaskResult
from ..text.terminal_text import counted, paragraph
from ..training.envs import check_true_state
from ..training.task import Task
from ..verdicts.intervals import MIN_RUNS
from ..verdicts.verdict_rule import write_rule
from .ablate_options import AblateOptions
from .design import print_design
from .estimate import print_estimate
from .execution import execute, make_executor
from .grid import Grid
from .grid_tasks import AnyTask, cell_of, check_seeds_together, make_tasks
from .rounds import Rounds
from .saved_scores import joined, other_runs


def ablate(grid: Grid, options: AblateOptions, command: str = "") -> int:
    """Run the unfinished runs of a grid, and write a report.

    ``command`` repeats the grid. With ``save`` the raw scores are written whenever runs end; with
    ``only_seeds``, beside those of other seeds that are there. Returns the exit status, 0, or 1 if
    runs failed. Raises KeyboardInterrupt if interrupted, and UsageError if the folder or the saved
    scores are of another grid.
    """
    if options.save:
        require_checkout("reverie ablate --save")
    run = GridRun(grid, options)
    report, saved = run.folder / "report.html", ablations_file(options.save)
    if options.dry_run:
        run.print_grid()
        print_estimate(run.tasks, grid.options.seeds_together, options)
        print_design(grid, run.tasks, options, command)
        return 0
    check_writable(report, report.with_suffix(".md"), remedy="choose another --folder")
    others = list[dict[str, Any]]()
    if options.save:
        check_writable(saved, remedy="leave out --save, or make it writable")
        others = other_runs(saved, command, options.part) if options.only_seeds else []

    def save(*, at_end: bool = False) -> None:
        if not options.save or not (scores := run.scores()):
            return
        if data := joined(scores, others):
            write_result(saved, {"name": options.save, "command": command, **data})
        elif at_end:
            raise UsageError(
                f"{saved} has other variants than these runs, whose scores were not added: "
                f"{'; '.join(scores['variants'])}. Give the same command another --save."
            )

    try:
        for _ in run.execute():
            save()
    except KeyboardInterrupt:
        print("Interrupted: the same command continues.")
        raise
    if run.failed:
        cells = dict.fromkeys(map(cell_of, run.failed))
        names = "; ".join(f"{run.choices(x)} in {x.env.env_name}" for x in cells)
        failed = counted(len(run.failed), "run")
        print(paragraph(f"{failed} failed, of {names}; the same command retries what failed."))
    if not run.baseline:
        print("There is no report, because no run of the baseline is finished.")
        return 1
    stochastic = options.evaluation.stochastic
    write_report(run.finished, report, run.baseline, stochastic=stochastic, flag="--folder")
    print(f"report: {report} and {report.with_suffix('.md')}")
    save(at_end=True)
    return int(bool(run.failed))


def ablations_file(name: str) -> Path:
    """Return the file of a grid's committed scores."""
    return RESULTS / "ablations" / f"{name}.json"


class GridRun:
    """The runs of a grid: those that are finished, and the execution of the others.

    Raises UsageError if an env lacks what a part needs, if the seeds cannot train together, or if a
    run folder is a link.
    """

    def __init__(self, grid: Grid, options: AblateOptions) -> None:
        self.grid, self.options = grid, options
        for experiment in grid.cells:
            check_true_state(experiment)
        variants = {tuple(x for x in each if x.role != "env") for each in grid.cells.values()}
        self.num_variants = len(variants)
        if options.until == "decided" and self.num_variants == 1:
            raise UsageError(
                "--until decided needs choices to decide between, and every env has one; give a "
                "role several, as in bonus:none,simhash, or choose a number of --seeds."
            )
        check_seeds_together(grid, options.threads)
        self.tasks = make_tasks(grid, options)
        self.folder = self.tasks[0].folder.parent
        refuse_links(self.folder, [task.folder.name for task in self.tasks])
        self.failed: list[Task] = []

    def execute(self) -> Iterator[TaskResult[AnyTask]]:
        """Execute the unfinished runs, and yield the results of processes as they end.

        The rule of the verdicts is written into the folder first; raises UsageError if the folder
        holds another. Runs that failed are in ``failed`` at the end.
        """
        options, rule = self.options, self.options.rule
        write_rule(self.folder, rule)
        self.print_grid()
        executor = make_executor(options)
        rounds = Rounds(self.tasks, rule, stochastic=options.evaluation.stochastic)
        for unfinished in rounds:
            yield from execute(executor, unfinished, self.grid.options.seeds_together)
        self.failed = rounds.failed

    @property
    def finished(self) -> list[Path]:
        """The folders of the runs with scores."""
        return [task.folder for task in self.tasks if task.scores]

    @property
    def baseline(self) -> str:
        """Name of the folder of a finished run of the first cell; empty if there is none."""
        first = cell_of(self.tasks[0])
        return next((x.folder.name for x in self.tasks if cell_of(x) == first and x.scores), "")

    def scores(self) -> dict[str, Any]:
        """Return the raw scores of the finished runs; empty before one of the baseline ends.

        Raises UsageError if the runs differ in protocol or length, so that one table cannot hold
        them.
        """
        if not self.baseline:
            return {}
        stochastic, rule = self.options.evaluation.stochastic, self.options.rule
        results, _ = read_results(self.finished, stochastic=stochastic)
        comparisons = compare(results, self.baseline, rule)
        if len(comparisons) > 1:
            titles = "; ".join(comparison.title for comparison in comparisons)
            raise UsageError(f"--save takes runs of one protocol and length, not {titles}.")
        return comparisons[0].to_json()

    def choices(self, cell: Experiment) -> str:
        """Return what distinguishes a cell from others."""
        return " ".join(map(str, self.grid.cells[cell])) or self.grid.name

    def print_grid(self) -> None:
        """Print the rule, the cells and the remaining steps."""
        tasks, cells = self.tasks, len(self.grid.cells)
        seeds, at_most = len(tasks) // cells, "up to " * (self.options.until == "decided")
        print(
            f"{counted(cells, 'cell')} x {at_most}{counted(seeds, 'seed')} = {at_most}"
            f"{counted(len(tasks), 'run')} in {self.folder}"
        )
        if self.num_variants == 1:
            where = "in each env, so" if cells > 1 else "and"
            print(
                paragraph(
                    f"There is one cell {where} nothing is compared; to compare parts, give a role "
                    "several, as in bonus:none,simhash."
                )
            )
        for experiment in self.grid.cells:
            env, steps = experiment.env, experiment.total_timesteps
            print(
                f"  {self.choices(experiment)}: {env.env_name}, protocol {env.protocol_label}, "
                f"{steps:,} steps ({steps * env.frame_skip:,} frames)"
            )
        for why, count in Counter(x.warning for x in self.grid.cells if x.warning).items():
            print(paragraph(f"In the runs of {counted(count, 'cell')} {why}"))
        print(f"rule: {self.options.rule}")
        if len(self.grid.cells) > 1 and self.options.rule.analyses[-1] < MIN_RUNS:
            print(f"Fewer than {MIN_RUNS} seeds allow no verdict.")
        unfinished = [task for task in tasks if not task.scores]
        print(
            f"{len(tasks) - len(unfinished)} finished before; {at_most}{len(unfinished)} to run, "
            f"{at_most}{sum(task.remaining_timesteps for task in unfinished):,} agent steps"
        )
