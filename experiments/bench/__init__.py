"""Benchmark of this machine: rates and their ratios, printed and stored as JSON."""

import os
import sys
from collections.abc import Mapping

from ...envs.errors import UsageError
from ..reporting.committed import require_checkout
from ..runs.outputs import check_writable
from ..runs.runtime import pick_device, pick_threads
from ..text.terminal_text import paragraph
from . import parts, races, rank_scaling, seed_scaling, small_envs
from .budget import due, measure, print_plan
from .measurement import Measure, Measurement
from .peers import check_peers
from .session import BenchOptions, BenchSession, Row, results_file
from .sweep import sweep

MAX_LOAD = 0.25
"""Processes per core, on average over the last minute, that are measured without a warning."""
GROUPS: dict[str, Measure] = {
    "commands": parts.commands,
    "rollouts": races.rollouts,
    "ppo": races.ppo,
    "data-parallel": rank_scaling.data_parallel,
    "dqn": races.dqn,
    "mfec": races.mfec,
    "episodic": races.episodic,
    "minatar": small_envs.minatar,
    "seeds": seed_scaling.seeds,
    "replay": parts.replay,
    "tables": parts.tables,
    "checkpoints": parts.checkpoints,
    "densities": parts.densities,
    "representations": parts.representations,
    "predictors": parts.predictors,
    "planners": races.planners,
}


def warn_of_load() -> None:
    """Print a warning if other processes used this machine in the last minute."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > MAX_LOAD * cores:
        text = f"Warning: in the last minute the load of this machine was {load:.1f} on {cores} "
        text += "cores. What else runs lowers the rates, but not the ratios of a comparison."
        print(paragraph(text), file=sys.stderr)


def bench(options: BenchOptions, groups: Mapping[str, Measure] = GROUPS) -> list[Row]:
    """Measure the selected groups, or the selected rows of the sweep, and return what was measured.

    One that fails leaves a row with its ``error``, and the others are measured. Raises UsageError
    for a device, a peer or a name that does not exist.
    """
    if options.save:
        require_checkout("reverie bench --save")
    peers = check_peers(options.compare_with)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    if options.save:
        check_writable(results_file(device), remedy="leave out --save, or make it writable")
    session = BenchSession(options, device, threads, peers)
    table = {name: Measurement(run) for name, run in groups.items()}
    if options.sweep:
        table = sweep(device)
    selected = {name: x for name, x in table.items() if options.only in name}
    if not selected:
        remedy = f"the groups are {', '.join(groups)}."
        if options.sweep:
            remedy = "reverie bench --sweep --dry-run lists the rows."
        kind = "row of the sweep" if options.sweep else "benchmark group"
        raise UsageError(f"There is no {kind} '{options.only}'; {remedy}")
    if options.sweep and options.save:
        selected = due(selected, session)
        if not selected:
            print(f"{results_file(device)} holds every selected row of this version of the code.")
    if options.dry_run:
        print_plan(selected)
        return []
    warn_of_load()
    return measure(selected, session)
