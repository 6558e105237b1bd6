"""Benchmark of this machine: rates and their ratios, printed and stored as JSON."""

import time
from collections.abc import Callable, Mapping

from rich.console import Console

from ..runs.runtime import pick_device, pick_threads
from . import interleaved, parts
from .peers import check_peers
from .session import BenchLog, BenchOptions, BenchSession, Row

Group = Callable[[BenchSession], list[Row]]

GROUPS: dict[str, Group] = {
    "commands": parts.commands,
    "rollouts": interleaved.rollouts,
    "ppo": interleaved.ppo,
    "dqn": interleaved.dqn,
    "mfec training": parts.mfec_training,
    "replay": parts.replay,
    "tables": parts.tables,
    "checkpoints": parts.checkpoints,
    "densities": parts.densities,
    "representations": parts.representations,
    "predictors": parts.predictors,
    "planners": interleaved.planners,
    "memory": parts.peak_memory,
}


def bench(options: BenchOptions, groups: Mapping[str, Group] = GROUPS) -> list[Row]:
    """Measure the selected groups and return their rows.

    Raises UsageError for a device or a peer that is not available.
    """
    peers = check_peers(options.compare_with)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    session = BenchSession(options, device, threads, peers, console)
    log = BenchLog(session)
    rows: list[Row] = []
    for group, measure in groups.items():
        if options.only not in group:
            continue
        if group in log.finished_groups:
            session.console.print(f"{group}: already measured in this session")
            continue
        begin, group_rows = time.perf_counter(), measure(session)
        for row in group_rows:
            session.console.print(f"{row['name']:<64} {row['shown']}")
        session.console.print(f"{group}: {time.perf_counter() - begin:.0f} s")
        rows += group_rows
        if options.save:
            log.add(group, group_rows)
    if options.save:
        session.console.print(f"appended to {log.finish()}")
    return rows
