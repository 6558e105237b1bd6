"""The processes of one run, which ``torchrun`` starts."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta

import torch
from torch import distributed

from ...envs.errors import RunError, UsageError
from ...envs.ranks import ALONE, Ranks

TIMEOUT = timedelta(days=1)
"""How long a rank waits for the others: the first one may evaluate meanwhile."""


def started_ranks() -> Ranks:
    """Return the place that ``torchrun`` gave this process, before it joins the others."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    places = [int(os.environ.get(name, "-1")) for name in names]
    return ALONE if min(places) < 0 or places[1] == 1 else Ranks(*places)


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes of ``torchrun``, if it started this one, until the run's end.

    Ranks but the first print nothing to stdout. If an error ends the run, the rank that meets it
    first reports it, and the others exit with status 1.
    """
    ranks = started_ranks()
    if ranks.alone:
        yield ranks
        return
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
