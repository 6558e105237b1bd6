"""The batched envs of an experiment, and the throughput of random play in them."""

import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.batched_env import BatchedEnv, spec_of
from ...envs.dynamics import no_snapshots
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec
from ...envs.pipeline import Pipeline
from ...envs.privileged import true_state_columns
from ...envs.ranks import ALONE, Ranks
from ...envs.restorable import RestorableEnvs
from ...world_models.precision import FLOAT32, Precision
from ..config.experiment import Experiment
from ..config.roles import part_at, part_name, references
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

    They offer their true state with ``privileged``, or if a part of the experiment needs it, and
    snapshots if a part needs these. Raises UsageError if an env cannot, or if the number of envs is
    not divisible by that of the groups.
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
    settings: dict[str, Any] = {"precision": precision, "privileged": privileged}
    make: Callable[..., BatchedEnv] = BatchedEnv
    copies = size
    if steps := experiment.agent.return_after:
        part = f"agent:{part_name(experiment.agent)}"
        if pipeline > 1:
            raise UsageError(
                f"pipeline is {pipeline}, and {part} returns to what it has learned at the "
                "timestep before; choose --pipeline 1."
            )
        make = partial(RestorableEnvs, num_envs=size, episode_steps=steps, part=part)
        copies = 1  # which is stepped from every env's snapshot
    build = partial(build_env, experiment, copies, max(1, threads // pipeline), **settings)
    parts = [
        make(
            build(),
            seed=experiment.seed,
            device=device,
            first_env=start,
            snapshots=experiment.needs_snapshots,
        )
        for start in range(rows.start, rows.stop, size)
    ]
    envs = parts[0] if pipeline == 1 else Pipeline(parts)
    try:
        check_true_state(experiment, envs.spec)
    except UsageError:
        envs.close()
        raise
    return envs


def check_true_state(experiment: Experiment, spec: EnvSpec | None = None) -> None:
    """Raise UsageError if the env does not offer the true state or the snapshots of a part.

    Without ``spec`` an env is built to read them from, if a part needs them.
    """
    if not (experiment.needs_privileged or experiment.needs_snapshots):
        return
    env = experiment.env
    spec = spec or spec_of(env, privileged=True, snapshots=experiment.needs_snapshots)
    offered = spec.privileged
    for role, name in references(experiment).items():
        part = part_at(experiment, role)
        if getattr(part, "needs_snapshots", False) and spec.dynamics is None:
            raise no_snapshots(f"{role}:{name}", env.env_name)
        if not getattr(part, "needs_privileged", False):
            continue
        try:
            if hasattr(part, "privileged_columns"):
                part.privileged_columns(offered)
            else:
                true_state_columns(offered, part=f"{role}:{name}")
        except UsageError as error:
            raise UsageError(f"In {env.env_name}, {error}") from error


def build_env(
    experiment: Experiment,
    num_envs: int,
    threads: int,
    *,
    precision: Precision = FLOAT32,
    privileged: bool = False,
) -> VectorEnv[Any, Any, Any]:
    """Create copies of the env of an experiment, with the true state if a part of it needs it."""
    env, privileged = experiment.env, privileged or experiment.needs_privileged
    precisions = {"precision": precision} if isinstance(env, ImaginationConfig) else {}
    build: Callable[..., VectorEnv[Any, Any, Any]] = env.build
    return build(num_envs, threads=threads, privileged=privileged, **precisions)


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
