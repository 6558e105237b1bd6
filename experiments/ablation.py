"""``reverie ablate``: parts swapped for one another, over games and seeds, as one line.

Every choice of a role token such as ``bonus:none,pseudo-count`` makes a cell of the grid, every
cell is run on every game with every seed, and each run is what ``reverie train`` would make.
"""

import itertools
import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType

from envs.checks import at_least, check
from envs.errors import UsageError
from experiments.cost import rates
from experiments.evaluation import under
from experiments.findings import compare, summary
from experiments.grid import Cell, grid
from experiments.parse import (
    default_folder,
    import_modules,
    parse_experiment,
    parse_flags,
    take,
)
from experiments.records import read
from experiments.report import write_report
from experiments.reproduce import RESULTS, compact_json
from experiments.tasks import Outcome, Task, Workers
from experiments.workers import Pool


@dataclass(frozen=True)
class Ablate:
    """How a grid is run; any other flag is one of ``reverie train`` and holds for every cell."""

    games: str = ""
    """atari26, atari57, hard or names with commas; without it, the preset's own world."""
    seeds: int = 3
    """Seeds of each cell in each world, from 0."""
    episodes: int = 30
    """Episodes of each run's final evaluation."""
    protocols: str = ""
    """Protocols to evaluate under beside the run's own, with commas."""
    explore: bool = False
    """Evaluate as in training, without a protocol's epsilon: an actor-critic by draws."""
    video: bool = True
    """Film an episode of each cell's first seed, for the report."""
    folder: str = ""
    """Where the runs go, and the report; by default runs/ablate/PRESET-STEPS."""
    workers: int = 0
    """Runs at a time; 0 for as many as the cores allow."""
    threads: int = 1
    """Threads of each run."""
    retries: int = 2
    """How often a run is taken up again when its process dies."""
    ray: str = ""
    """Address of a Ray cluster to run on, such as auto, instead of this machine alone."""
    rate: float = 0.0
    """Agent steps a second of one run, for --dry-run; 0 takes those of the grid's runs so far, or
    tries each variant for ten seconds."""
    save: str = ""
    """Name under which the raw scores go into experiments/results/ablations/, for the README."""
    dry_run: bool = False
    """Show the grid and what it will cost, and run none of it."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "seeds", "episodes", "threads")
        check(self, "", at_least(0), "workers", "rate", "retries")


def ablate(words: list[str]) -> int:
    """Run what is not finished of a grid, and report; 130 where it was interrupted."""
    said = list(words)
    words, options = _options(import_modules(words))
    cells = grid(words, options.games)
    tasks = tasks_of(cells, options)
    left = [task for task in tasks if not task.done]
    _show(cells, tasks, left, options)
    if options.dry_run:
        return 0
    failed: list[Outcome] = []
    begin, own, over = time.monotonic(), 0.0, 0.0
    if left:
        workers = _workers(options)
        try:
            with _termination_interrupts():
                for count, outcome in enumerate(workers.outcomes(left), 1):
                    own, over = own + outcome.seconds, over + outcome.overhead
                    failed += [outcome] if outcome.error else []
                    print(f"[{count}/{len(left)}] {_line(outcome)}", flush=True)
        except KeyboardInterrupt:
            print("Interrupted: the same command continues.")
            return 130
        finally:
            workers.stop()
        took = time.monotonic() - begin
        share = f"; scheduling took {over / own:.1%} more" if own and not options.ray else ""
        print(f"{len(left)} runs in {took:,.0f} s; their own time was {own:,.0f} s{share}.")
    if failed:
        print(f"{len(failed)} runs failed; the same command tries them again.")
        return 1
    folder = tasks[0].folder.parent
    runs = [task.folder for task in tasks]
    path = write_report(runs, folder / "report.html", runs[0].name, explore=options.explore)
    print(f"report: {path} and {path.with_suffix('.md')}")
    if options.save:
        print(f"wrote {save(options.save, said, runs, explore=options.explore)}")
    return 0


def save(name: str, words: list[str], runs: list[Path], *, explore: bool = False) -> Path:
    """Commit a grid's raw scores under a name, for the README's table of verdicts.

    Raises UsageError where they cannot stand in one table.
    """
    comparisons = compare(read(runs, explore=explore)[0], runs[0].name)
    if len(comparisons) > 1:
        said = "; ".join(found.title for found in comparisons)
        raise UsageError(f"--save takes runs of one protocol and length, not {said}.")
    for flag in ("--folder", "--save", "--workers"):
        words, _ = take(words, flag)
    data = {"name": name, "command": shlex.join(["reverie", "ablate", *words])}
    path = RESULTS / "ablations" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compact_json(data | summary(comparisons[0])))
    return path


def tasks_of(cells: list[Cell], options: Ablate) -> list[Task]:
    """Every cell with every seed; all cells of a seed come before the next seed's."""
    preset, steps = cells[0].words[0], cells[0].experiment.steps
    folder = Path(options.folder or f"runs/ablate/{preset}-{steps}").resolve()
    tasks = []
    for seed, cell in itertools.product(range(options.seeds), cells):
        words = (*cell.words, "--seed", str(seed))
        _, (experiment,), _ = parse_experiment([*words])
        name, env = default_folder(preset, experiment).name, experiment.env.evaluation
        named = filter(None, map(str.strip, options.protocols.split(",")))
        protocols = tuple(name for name in named if under(env, name) is not env)
        tasks.append(
            Task(
                words,
                folder / name,
                experiment.steps,
                episodes=options.episodes,
                protocols=protocols,
                explore=options.explore,
                video=options.video and not seed,
                threads=options.threads,
            )
        )
    return tasks


def _options(words: list[str]) -> tuple[list[str], Ablate]:
    """The flags of the grid, and the words that are left."""
    program = "reverie ablate PRESET [role:a,b ...] [flags of train]"
    if not words or {"-h", "--help"} & set(words):
        parse_flags(Ablate, ["--help"], program)
    mine: list[str] = []
    for field in fields(Ablate):
        flag = f"--{field.name.replace('_', '-')}"
        if field.type is bool:
            either = flag, flag.replace("--", "--no-", 1)
            mine += [word for word in words if word in either]
            words = [word for word in words if word not in either]
        else:
            words, value = take(words, flag)
            mine += [] if value is None else [f"{flag}={value}"]
    if any(word.partition("=")[0] == "--seed" for word in words):
        raise UsageError("--seed names one run; a grid takes a number of --seeds.")
    return words, parse_flags(Ablate, mine, program)


def _workers(options: Ablate) -> Workers:
    if options.ray:
        from experiments.cluster import Cluster

        return Cluster(options.ray, options.threads, options.retries)
    return Pool(_at_once(options), options.threads, options.retries)


def _at_once(options: Ablate) -> int:
    return options.workers or max(1, len(os.sched_getaffinity(0)) // options.threads)


def _show(cells: list[Cell], tasks: list[Task], left: list[Task], options: Ablate) -> None:
    seeds = options.seeds
    print(f"{len(cells)} cells x {seeds} seeds = {len(tasks)} runs in {tasks[0].folder.parent}")
    for cell in cells:
        world = cell.experiment.env
        steps = cell.experiment.steps
        print(
            f"  {cell.label or cell.words[0]}: {world.title}, protocol {world.protocol_label}, "
            f"{steps:,} steps ({steps * world.frame_skip:,} frames)"
        )
    pairs = [*zip(cells * seeds, tasks, strict=True)]
    todo = [
        max(0, cell.experiment.steps - task.trained_steps) if task in left else 0
        for cell, task in pairs
    ]
    print(
        f"{len(tasks) - len(left)} finished before; {len(left)} to run, {sum(todo):,} agent steps"
    )
    if not options.dry_run or not left:
        return
    if options.rate:
        rate, source = [options.rate] * len(tasks), "stated"
    else:
        rate, source = rates(tasks)
    hours = sum(steps / each for steps, each in zip(todo, rate, strict=True)) / 3600
    where = "the cluster" if options.ray else f"{_at_once(options)} at a time"
    elapsed = "" if options.ray else f", {hours / _at_once(options):,.2f} hours"
    print(
        f"About {hours:,.2f} hours of {options.threads} thread{'s' * (options.threads > 1)} at "
        f"{_span(rate)} agent steps/s a run ({source}), evaluation not counted; {where}{elapsed}"
    )


def _span(numbers: list[float]) -> str:
    low, high = f"{min(numbers):,.0f}", f"{max(numbers):,.0f}"
    return low if low == high else f"{low} to {high}"


def _line(outcome: Outcome) -> str:
    name = outcome.task.folder.name
    died = f", after {outcome.deaths} deaths of its process" if outcome.deaths else ""
    if outcome.error:
        return f"{name} FAILED{died}: {outcome.error}"
    return f"{name} in {outcome.seconds:,.0f} s{died}"


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM ends the grid as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
