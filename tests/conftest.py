"""Shapes and types of every package function are enforced while the tests run.

Each of several processes of tests has a processor of its own: its threads hand over to each other
at every timestep, and would wait for another process's.
"""

import os

import torch
from jaxtyping import install_import_hook

from checker import sample_calls

sample_calls()
install_import_hook(["reverie"], "checker.checked")
torch.set_num_threads(1)
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {usable[int(worker.removeprefix("gw")) % len(usable)]})
