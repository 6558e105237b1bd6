"""Speed on this machine: rows of numbers with their ratios, printed and kept as JSON."""

import time
from collections.abc import Callable

from rich.console import Console

from experiments.bench import pages, parts, races
from experiments.bench.peers import check_peers
from experiments.bench.sitting import BenchOptions, Notes, Row, Sitting
from experiments.machine import pick_device, pick_threads

GROUPS: dict[str, Callable[[Sitting], list[Row]]] = {
    "commands": parts.commands,
    "rollouts": races.rollouts,
    "actor-critic": races.actor_critic,
    "dqn": races.dqn,
    "episodic training": parts.episodic,
    "replay": parts.replay,
    "tables": parts.tables,
    "checkpoints": parts.checkpoints,
    "densities": parts.densities,
    "representations": parts.representations,
    "predictors": parts.predictors,
    "planners": races.planners,
    "pages": pages.play,
    "memory": parts.peak_memory,
}


def bench(options: BenchOptions) -> list[Row]:
    """Measure the chosen groups; raises UsageError for a device or a peer that is not there."""
    peers = check_peers(options.against)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    sitting = Sitting(options, device, threads, peers, console)
    notes = Notes(sitting)
    rows: list[Row] = []
    for group, measure in GROUPS.items():
        if options.only not in group:
            continue
        if group in notes.groups:
            sitting.console.print(f"{group}: measured before")
            continue
        begin, made = time.perf_counter(), measure(sitting)
        for row in made:
            sitting.console.print(f"{row['name']:<64} {row['shown']}")
        sitting.console.print(f"{group}: {time.perf_counter() - begin:.0f} s")
        rows += made
        if options.save:
            notes.add(group, made)
    if options.save:
        sitting.console.print(f"appended to {notes.finish()}")
    return rows
