"""Data parallel training: one run in several processes, which ``torchrun`` starts.

Each rank plays its share of the envs, and all of them make the updates that one process would make
with all envs. The first rank writes the run folder and the messages.
"""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from ...agents.interface import Agent
from ...envs.errors import RunError, UsageError
from ...envs.interface import TimeStep, Transition
from ...envs.ranks import ALONE, DataParallel, Ranks
from ..config.experiment import Experiment
from .options import TrainOptions

TIMEOUT = timedelta(days=1)
"""How long a rank waits for the others: the first one may evaluate meanwhile."""


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes of ``torchrun``, if it started this one, until the run's end.

    Ranks but the first print nothing to stdout. If an error ends the run, the rank that meets it
    first reports it, and the others exit with status 1.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    places = [int(os.environ.get(name, "-1")) for name in names]
    if min(places) < 0 or places[1] == 1:
        yield ALONE
        return
    ranks = Ranks(*places)
    if not distributed.is_initialized():  # by an earlier run of this process
        on_gpu = torch.cuda.is_available() and distributed.is_nccl_available()
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=TIMEOUT)
        atexit.register(distributed.destroy_process_group)
    try:
        if ranks.first:
            yield ranks
        else:
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
                yield ranks
    except (UsageError, RunError) as error:
        if not _reports_first():
            raise SystemExit(1) from error
        if not ranks.first:
            print(f"reverie: rank {ranks.rank}: {error}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error
        raise


def _reports_first() -> bool:
    """Return whether no other rank reports an error."""
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bool(store.add("reverie/errors", 1) == 1)
    except RuntimeError:  # the process that holds the store has ended
        return True


def data_parallel(
    agent: Agent, experiment: Experiment, options: TrainOptions, ranks: Ranks
) -> Agent:
    """Return the agent of a rank; raises UsageError for what several processes cannot train."""
    name = type(experiment.agent).__name__.removesuffix("Config")
    alone = "or train in one process, without torchrun"
    if not isinstance(agent, DataParallel):
        raise UsageError(
            f"The agent {name} learns in one process: it has no rollout whose updates several "
            f"processes could share; choose ppo, {alone}."
        )
    refused = {
        "init_from": (experiment.init_from is not None, "the start from a trained agent"),
        "resume": (options.resume == "fresh-episodes", "the start of new episodes"),
        "count_rooms": (options.count_rooms, "the count of rooms"),
        "count_states": (options.count_states, "the count of observations"),
    }
    for field, (is_set, what) in refused.items():
        if is_set:
            raise UsageError(
                f"{what.capitalize()} needs all envs in one process; leave out "
                f"--{field.replace('_', '-')}, {alone}."
            )
    agent.ranks = ranks
    return agent


def gather_transition(t: Transition, ranks: Ranks) -> Transition:
    """Return a transition of the envs of all ranks, without carries and extras."""
    if ranks.alone:
        return t
    step, next_step = (_gather_step(x, ranks) for x in (t.step, t.next_step))
    action, bonus = ranks.gather(t.action), ranks.gather(t.bonus)
    return replace(
        t, step=step, carry={}, action=action, extras={}, next_step=next_step, next_carry={},
        bonus=bonus,
    )  # fmt: skip


def _gather_step(step: TimeStep, ranks: Ranks) -> TimeStep:
    columns: dict[str, Any] = {name: ranks.gather(x) for name, x in step.columns().items()}
    return replace(step, **columns)
