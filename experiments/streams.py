"""The streams that an experiment is trained in, and how fast they are with nothing learned."""

import time
from itertools import islice

import torch

from agents.loop import interact
from agents.policies import RandomPolicy
from envs.errors import UsageError
from envs.pipeline import Pipeline
from envs.stream import Stream
from experiments.config import Experiment


def make_stream(
    experiment: Experiment, device: torch.device, threads: int, pipeline: int = 1
) -> Stream | Pipeline:
    """The experiment's training streams, in so many parts."""
    size, rest = divmod(experiment.streams, max(pipeline, 1))
    if pipeline < 1 or rest or not size:
        raise UsageError(
            f"pipeline is {pipeline}, and {experiment.streams} streams do not fall into so many "
            "equal parts; choose 1 or 2 and an even number of streams."
        )
    parts = [
        Stream(
            experiment.env.build(size, threads=max(1, threads // pipeline)),
            seed=experiment.seed,
            device=device,
            start=start,
        )
        for start in range(0, experiment.streams, size)
    ]
    return parts[0] if pipeline == 1 else Pipeline(parts)


def bare_rate(experiment: Experiment, threads: int, seconds: float) -> float:
    """Agent steps a second of the same streams under random actions, with nothing learned."""
    stream = make_stream(experiment, torch.device("cpu"), threads)
    loop = interact(stream, RandomPolicy(stream.spec.num_actions))
    for _ in islice(loop, 10):
        pass
    ticks, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        next(loop)
        ticks += 1
    rate = ticks * experiment.streams / (time.perf_counter() - begin)
    stream.close()
    return rate
