"""Data parallel training beside training in one process, each process held to one thread."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch

from ...agents.loop import interact
from ...agents.ppo import PPOConfig
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..runs.runtime import pick_runtime
from ..sessions.processes import joined_ranks
from ..training.envs import make_batched_env
from .interleaved import BREAKOUT, GAME, compare
from .peers import Contender
from .session import BenchSession, Row, row

NAMES = {1: "one process of one thread", 2: "two processes of one thread"}


def data_parallel(session: BenchSession) -> Iterator[Row]:
    """Measure PPO in one process and in two that share its envs, and the CPU time of both.

    On a busy machine the processes wait for each other and for a core. CPU time then tells what
    the exchange adds to the work: c1 / c2 of it bounds the speedup on two cores by 2 c1 / c2.
    """
    if session.device.type == "cuda" and torch.cuda.device_count() < 2:
        print("Data parallel training is not measured: it needs two GPUs.")
        return
    num_envs = session.num_envs(cpu=8)
    agent = PPOConfig()
    experiment = replace(PRESETS["ppo"], agent=agent, env=BREAKOUT, num_envs=num_envs)
    contenders = [RankScaling.start(experiment, session.device, size) for size in NAMES]
    title = f"training ppo, {GAME}, {num_envs} envs x {agent.num_steps} timesteps x 4 epochs"
    yield from compare(session, contenders, title, [NAMES[1]])
    for contender in contenders:
        seconds = median(contender.cpu_seconds[1:] or contender.cpu_seconds)
        yield row(
            f"{contender.name}, CPU time of a rollout and its updates, {title}", "seconds", seconds
        )


@dataclass(frozen=True)
class RankScaling(Contender):
    """Processes that train together; a round is one rollout of all envs and its updates."""

    cpu_seconds: list[float] = field(default_factory=list)
    """CPU time of each round, summed over the processes."""

    @staticmethod
    def start(experiment: Experiment, device: torch.device, size: int) -> "RankScaling":
        """Start the processes, which wait for their first round."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context, cpu_seconds = get_context("spawn"), []
        ends: list[tuple[Any, Any]] = [context.Pipe() for _ in range(size)]
        processes = [
            context.Process(target=_train, args=(experiment, str(device), rank, size, port, end))
            for rank, (_, end) in enumerate(ends)
        ]
        for process in processes:
            process.start()

        def run() -> int:
            for own, _ in ends:
                own.send(True)
            cpu_seconds.append(sum(own.recv() for own, _ in ends))
            return experiment.num_envs * experiment.agent.rollout_length

        def close() -> None:
            for own, _ in ends:
                own.send(False)
            for process in processes:
                process.join()

        return RankScaling(NAMES[size], run, close, cpu_seconds)


def _train(
    experiment: Experiment, device: str, rank: int, size: int, port: int, end: Connection
) -> None:
    """Train for one rollout whenever the other end of the pipe asks, and return its CPU seconds."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(place) for name, place in places.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with joined_ranks() as ranks, ExitStack() as resources:
        runtime = pick_runtime(device, 1, "fp32", False, ranks)
        envs = make_batched_env(experiment, runtime.device, 1, ranks=ranks)
        resources.callback(envs.close)
        agent: Any = experiment.agent.build(envs.spec, device=runtime.device)
        agent.ranks = ranks
        loop = interact(envs, agent)
        while end.recv():
            begin = time.process_time()
            for t in islice(loop, experiment.agent.rollout_length):
                agent.learn(t)
            end.send(time.process_time() - begin)
