"""Benchmark of this machine: rates and their ratios, printed and stored as JSON."""

import time
from collections.abc import Callable, Iterator, Mapping

from ..reporting.committed import require_checkout
from ..runs.outputs import check_writable
from ..runs.runtime import pick_device, pick_threads
from . import interleaved, parts
from .peers import check_peers
from .session import BenchOptions, BenchSession, Row, results_file, save

Group = Callable[[BenchSession], Iterator[Row]]

GROUPS: dict[str, Group] = {
    "commands": parts.commands,
    "rollouts": interleaved.rollouts,
    "ppo": interleaved.ppo,
    "dqn": interleaved.dqn,
    "mfec": interleaved.mfec,
    "seeds": interleaved.seeds,
    "replay": parts.replay,
    "tables": parts.tables,
    "checkpoints": parts.checkpoints,
    "densities": parts.densities,
    "representations": parts.representations,
    "predictors": parts.predictors,
    "planners": interleaved.planners,
}


def bench(options: BenchOptions, groups: Mapping[str, Group] = GROUPS) -> list[Row]:
    """Measure the selected groups and return their rows.

    Raises UsageError for a device or a peer that is not available.
    """
    if options.save:
        require_checkout("reverie bench --save")
    peers = check_peers(options.compare_with)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    if options.save:
        check_writable(results_file(device), remedy="leave out --save, or make it writable")
    session = BenchSession(options, device, threads, peers)
    measured: list[Row] = []
    for group, measure in groups.items():
        if options.only in group:
            begin, rows = time.perf_counter(), []
            for row in measure(session):
                print(f"{row['name']:<64} {row['shown']}", flush=True)
                rows.append(row)
            print(f"{group}: {time.perf_counter() - begin:.0f} s", flush=True)
            measured += rows
            if options.save:
                save(session, rows)
    return measured
