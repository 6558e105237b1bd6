"""Seeds that train together beside seeds that train one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from ...agents.dqn import DQNConfig
from ...agents.loop import interact
from ...agents.ppo import PPOConfig
from ...agents.seeds_together.together import together
from ...envs.deep_sea import DeepSeaConfig
from ...envs.seed_envs import SeedEnvs
from ...world_models.precision import FLOAT32
from ..config.experiment import Experiment
from .interleaved import agent_loop, compare
from .peers import Contender
from .session import BenchSession, Row


def seeds(session: BenchSession) -> Iterator[Row]:
    """Measure 8 seeds that train together beside 8 that train one after another, on one thread."""
    if session.device.type != "cpu":
        print("Seeds train together on a CPU alone; choose --device cpu to measure them.")
        return
    num_timesteps, threads = 128, torch.get_num_threads()
    torch.set_num_threads(1)
    agents = {
        "ppo": PPOConfig(),
        "dqn": DQNConfig(learning_starts=1_000, buffer_size=50_000),
    }
    for name, agent in agents.items():
        experiment = Experiment(agent, DeepSeaConfig(), num_envs=8)
        each = [replace(experiment, seed=seed) for seed in range(8)]
        alone, joint = f"{name}, one after another", f"{name}, together"
        contenders = [
            one_after_another(session, alone, each, num_timesteps),
            seeds_together(session, joint, each, num_timesteps),
        ]
        title = f"8 seeds in deep-sea, 8 envs x {num_timesteps} timesteps each"
        yield from compare(session, contenders, title, [alone])
    torch.set_num_threads(threads)


def one_after_another(
    session: BenchSession, name: str, experiments: Sequence[Experiment], num_timesteps: int
) -> Contender:
    """Return the training of several experiments, each for a whole round, after their warm-up."""
    loops = [agent_loop(session, name, x, FLOAT32, num_timesteps) for x in experiments]
    for loop in loops:
        while loop.agent.steps < getattr(loop.agent.config, "learning_starts", 0):
            loop.run()

    def close() -> None:
        for loop in loops:
            loop.close()

    return Contender(name, lambda: sum(loop.run() for loop in loops), close)


def seeds_together(
    session: BenchSession, name: str, experiments: Sequence[Experiment], num_timesteps: int
) -> Contender:
    """Return the training of several seeds together, after their warm-up."""
    first, count = experiments[0], len(experiments)
    envs = SeedEnvs(
        first.env.build(count * first.num_envs, threads=1), seeds=[x.seed for x in experiments]
    )
    agents: list[Any] = [x.agent.build(envs.seed_spec, seed=x.seed) for x in experiments]
    joint = together(agents)
    loop = interact(envs, joint)

    def run() -> int:
        for t in islice(loop, num_timesteps):
            joint.learn(t)
        return num_timesteps * envs.spec.num_envs

    while agents[0].steps < getattr(agents[0].config, "learning_starts", 0):
        run()
    return Contender(name, run, envs.close)
