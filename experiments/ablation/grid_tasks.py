"""The tasks of a grid: a run for every cell and seed, and the seeds that train together."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..config.experiment import Experiment
from ..evaluation.run_evaluation import with_protocol
from ..training.task import SeedsTask, Task
from ..training.train_together import check_trains_together
from .ablate_options import AblateOptions
from .grid import Grid

AnyTask = Task | SeedsTask
"""What one process of a grid executes."""


def make_tasks(grid: Grid, options: AblateOptions) -> list[Task]:
    """Return a task for every cell and each seed that is run here, ordered by seed."""
    timesteps = next(iter(grid.cells)).total_timesteps
    folder = Path(options.folder or f"runs/ablate/{grid.name}-{timesteps}").resolve()
    own = replace(grid.options, threads=options.threads, random_play_seconds=0.0, seeds_together=1)
    first, tasks = options.first_seed, list[Task]()
    for seed, cell in itertools.product(options.part, grid.cells):
        experiment = replace(cell, seed=seed)
        env, evaluation = experiment.env.eval_env, options.evaluation
        others = [x for x in evaluation.protocols if with_protocol(env, x) is not env]
        tasks.append(
            Task(
                experiment,
                folder / grid.start.folder(experiment).name,
                own,
                replace(
                    evaluation, protocols=("", *others), video=evaluation.video and seed == first
                ),
            )
        )
    return tasks


def of_first_seeds(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return the tasks of the first seeds of a grid, all of whose tasks are given."""
    end = tasks[0].experiment.seed + count
    return [task for task in tasks if task.experiment.seed < end]


def cell_of(task: Task) -> Experiment:
    """Return the cell that a task is a run of."""
    return replace(task.experiment, seed=0)


def seeds_together(tasks: Iterable[Task], count: int) -> list[AnyTask]:
    """Return what processes execute: up to ``count`` seeds of a cell each, in the given order."""
    cells: dict[Experiment, list[Task]] = {}
    for task in tasks:
        cells.setdefault(cell_of(task), []).append(task)
    groups = [each[i : i + count] for each in cells.values() for i in range(0, len(each), count)]
    groups.sort(key=lambda group: group[0].experiment.seed)
    return [SeedsTask(tuple(group)) if len(group) > 1 else group[0] for group in groups]


def tasks_of(work: AnyTask) -> Sequence[Task]:
    """Return the tasks that one process executes."""
    return work.tasks if isinstance(work, SeedsTask) else (work,)


def check_seeds_together(grid: Grid, threads: int) -> None:
    """Raise UsageError if the seeds of a cell cannot train together, as the grid's options ask."""
    if grid.options.seeds_together == 1:
        return
    checked = set[object]()
    for cell in grid.cells:
        if (cell.agent, type(cell.env)) not in checked:
            check_trains_together(cell, replace(grid.options, threads=threads))
        checked.add((cell.agent, type(cell.env)))
