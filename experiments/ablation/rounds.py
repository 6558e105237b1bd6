"""Rounds of a grid: seeds are added up to each analysis of the rule, where they can still decide.

Which comparisons are decided is a function of the finished runs with fewer seeds than the analysis
has. A command that continues a grid therefore repeats the analyses, and goes on where it ended.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config.experiment import Experiment
from ..reporting.comparison import compare
from ..reporting.run_results import RunResult, read_results
from ..text.terminal_text import counted
from ..training.task import Task
from ..verdicts.verdict import ALL_ENVS, Verdict
from ..verdicts.verdict_rule import VerdictRule
from .grid_tasks import cell_of, of_first_seeds


class Rounds:
    """The rounds of a grid; iterating yields the unfinished tasks of each, to be executed.

    ``tasks`` are ordered by seed, and hold all seeds up to the last analysis. The runs of a decided
    variant end; those of the baseline go on while a variant is undecided in their env. A task that
    has no scores when the next round begins has failed. A cell with a failed run gets no further
    seeds, nor does a variant whose baseline has one.
    """

    def __init__(
        self, tasks: Sequence[Task], rule: VerdictRule, *, stochastic: bool = False
    ) -> None:
        self.tasks, self.rule = tasks, rule
        self.analysis = _Analysis(tasks, rule, stochastic=stochastic)
        self.failed: list[Task] = []

    def __iter__(self) -> Iterator[list[Task]]:
        open_cells = {cell_of(task) for task in self.tasks}
        told, verdicts = set[tuple[str, str]](), list[Verdict]()
        for n in self.rule.analyses:
            due = [x for x in of_first_seeds(self.tasks, n) if cell_of(x) in open_cells]
            if unfinished := [task for task in due if not task.scores]:
                seeds, cells = counted(n, "seed"), counted(len(open_cells), "cell")
                print(f"Up to {seeds} of {cells}:", flush=True)
                yield unfinished
                self.failed += [task for task in unfinished if not task.scores]
            verdicts, undecided = self.analysis.after(n)
            for verdict in verdicts:
                row = verdict.variant, verdict.env_name
                if verdict.decided and row not in told:
                    print(f"After {n} seeds, {row[0]} in {row[1]}: {verdict.text}")
                    told.add(row)
            without = {cell_of(task) for task in self.failed}
            complete = [cells for cells in undecided if not cells & without]
            open_cells &= {cell for cells in complete for cell in cells}
            if not open_cells:
                break
        counts = Counter(verdict.label for verdict in verdicts)
        if found := ", ".join(f"{count} {label}" for label, count in counts.items()):
            print(f"Verdicts by the {self.rule.score} score: {found}.")


class _Analysis:
    """The verdicts about a grid's finished runs after a number of seeds."""

    def __init__(self, tasks: Sequence[Task], rule: VerdictRule, *, stochastic: bool) -> None:
        self.tasks, self.rule, self.stochastic = tasks, rule, stochastic
        self.cells = {task.folder: cell_of(task) for task in tasks}
        self.results: dict[Path, RunResult] = {}

    def after(self, n: int) -> tuple[list[Verdict], list[set[Experiment]]]:
        """Return the verdicts after n seeds, and the cells of each undecided comparison.

        They are two in each env; a comparison whose other side has no finished run is left out.
        """
        folders = {task.folder: task for task in of_first_seeds(self.tasks, n)}
        new = [x for x, task in folders.items() if x not in self.results and task.scores]
        if new:
            read, _ = read_results(new, stochastic=self.stochastic)
            self.results |= {result.folder: result for result in read}
        runs = [folder for folder in folders if folder in self.results]
        first = cell_of(self.tasks[0])
        baseline = next((folder.name for folder in runs if self.cells[folder] == first), "")
        verdicts, undecided = list[Verdict](), list[set[Experiment]]()
        if not baseline:  # there is nothing to compare with
            return verdicts, undecided
        for comparison in compare([self.results[x] for x in runs], baseline, self.rule):
            for verdict in comparison.verdicts():
                verdicts.append(verdict)
                env_names = {verdict.env_name}
                if verdict.env_name == ALL_ENVS:
                    env_names = {*comparison.env_names}
                cells = {
                    self.cells[result.folder]
                    for label, result in comparison.results
                    if label in (verdict.variant, comparison.labels[0])
                    and result.env_name in env_names
                }
                if not verdict.decided and len(cells) == 2 * len(env_names):
                    undecided.append(cells)
        return verdicts, undecided
