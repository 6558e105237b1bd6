"""The batched envs of an experiment, and the throughput of random play in them."""

import time
from functools import partial
from itertools import islice

import torch

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.pipeline import Pipeline
from ...envs.ranks import ALONE, Ranks
from ...world_models.precision import FLOAT32, Precision
from ..config.experiment import Experiment
from .imagined_env import ImaginationConfig


def make_batched_env(
    experiment: Experiment,
    device: torch.device,
    threads: int,
    pipeline: int = 1,
    *,
    precision: Precision = FLOAT32,
    privileged: bool = False,
    ranks: Ranks = ALONE,
) -> BatchedEnv:
    """Create a rank's share of the envs of an experiment, divided into ``pipeline`` groups.

    They offer their true state with ``privileged``, or if a part of the experiment needs it. Raises
    UsageError if an env cannot, or if the number of envs is not divisible by that of the groups.
    """
    if experiment.num_envs % ranks.size:
        raise UsageError(
            f"num_envs is {experiment.num_envs}, and {ranks.size} processes share the envs; make "
            f"--num-envs a multiple of {ranks.size}."
        )
    rows = ranks.rows(experiment.num_envs)
    size, remainder = divmod(rows.stop - rows.start, max(pipeline, 1))
    if pipeline < 1 or remainder or not size:
        raise UsageError(
            f"pipeline is {pipeline}, and {rows.stop - rows.start} envs cannot be divided into "
            f"{pipeline} equal groups; choose --pipeline 1, or 2 and an even --num-envs."
        )
    env, needs = experiment.env, experiment.needs_privileged
    build = partial(
        env.build, threads=max(1, threads // pipeline), privileged=privileged or bool(needs)
    )
    if isinstance(env, ImaginationConfig):
        build = partial(build, precision=precision)
    parts = [
        BatchedEnv(build(size), seed=experiment.seed, device=device, first_env=start)
        for start in range(rows.start, rows.stop, size)
    ]
    envs = parts[0] if pipeline == 1 else Pipeline(parts)
    if needs and not envs.spec.privileged:
        envs.close()
        raise UsageError(
            f"{' and '.join(needs)} needs the true state, which {env.env_name} does not offer; "
            "choose another part, or an env that offers it, such as env:catch or "
            "--game montezuma_revenge."
        )
    return envs


def random_play_throughput(experiment: Experiment, threads: int, seconds: float) -> float:
    """Measure the agent steps per second of random play in the experiment's envs."""
    envs = make_batched_env(experiment, torch.device("cpu"), threads)
    loop = interact(envs, RandomPolicy(envs.spec.num_actions))
    for _ in islice(loop, 10):
        pass
    timesteps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(loop)
        timesteps += 1
    throughput = timesteps * experiment.num_envs / (time.perf_counter() - start)
    envs.close()
    return throughput
