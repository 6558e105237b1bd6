"""Loops that are timed in interleaved rounds, and their comparison.

Every round times each contender once, and a ratio is the median over rounds of the ratio within a
round, so that other load on the machine slows both sides alike.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import truediv
from typing import Any

import torch

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.interface import Transition
from ...world_models.precision import Precision
from ..config.experiment import Experiment
from ..training.envs import make_batched_env
from .peers import Contender, emulators
from .session import BenchSession, Row, gpu_seconds, row

GAME = "breakout"
BREAKOUT = AtariConfig(GAME, PROTOCOLS["nature"])
EMULATORS, RANDOM_PLAY = "emulators only", "random play"


def compare(
    session: BenchSession, contenders: Sequence[Contender], title: str, baselines: list[str]
) -> Iterator[Row]:
    """Time the contenders in interleaved rounds; yield their rates and ratios to the baselines.

    ``baselines`` are names of contenders; names of others are ignored. On a GPU every contender is
    profiled in one more round: ``gpu_idle`` is 1 - (busy time per step) x (rate), so that the time
    that profiling takes does not count as idle.
    """
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    num_rounds = session.options.rounds
    for index in range(num_rounds + 1):
        for contender in contenders:
            begin = time.perf_counter()
            steps = contender.run()
            if session.device.type == "cuda":
                torch.cuda.synchronize()
            rate = steps / (time.perf_counter() - begin)
            if index:  # round 0 is for warm-up: compilation, caches
                rates[contender.name].append(rate)
            label = f"round {index} of {num_rounds}" if index else "warm-up"
            print(f"  {label}, {contender.name}: {rate:,.0f} agent steps/s", flush=True)
    on_gpu = session.device.type == "cuda"
    profiles = {x.name: gpu_seconds(x.run) for x in contenders} if on_gpu else {}
    for contender in contenders:
        contender.close()
    for name, own in rates.items():
        ratios = {
            baseline: statistics.median(map(truediv, own, rates[baseline]))
            for baseline in baselines
            if baseline in rates and baseline != name
        }
        rate = statistics.median(own)
        details: dict[str, Any] = {"rounds": own, "ratios": ratios}
        remarks = [f"{ratio:.2f} x {baseline}" for baseline, ratio in ratios.items()]
        steps, busy = profiles.get(name, (0, 0.0))
        if busy:
            details["gpu_idle"] = max(0.0, 1 - busy * rate / steps)
            remarks.append(f"the GPU is idle for {details['gpu_idle']:.0%} of the time")
        remark = ", ".join(remarks)
        yield row(f"{name}, {title}", "steps_per_second", rate, remark, **details)


def breakout_emulators(session: BenchSession, num_envs: int, num_timesteps: int) -> Contender:
    """Return the vector env of Breakout under random actions, without BatchedEnv."""
    return bare_emulators(session, Experiment(env=BREAKOUT, num_envs=num_envs), num_timesteps)


def bare_emulators(session: BenchSession, experiment: Experiment, num_timesteps: int) -> Contender:
    """Return the vector env of an experiment under random actions, without BatchedEnv."""
    num_envs = experiment.num_envs
    env: Any = experiment.env.build(num_envs, threads=session.threads)
    env.reset(seed=list(range(num_envs)))
    num_actions = int(env.single_action_space.n)
    return emulators(EMULATORS, env, num_actions, num_envs=num_envs, num_timesteps=num_timesteps)


def random_play(session: BenchSession, experiment: Experiment, num_timesteps: int) -> Contender:
    """Return random play in the envs of an experiment."""
    envs = make_batched_env(experiment, session.device, session.threads)
    loop = interact(envs, RandomPolicy(envs.spec.num_actions))

    def run() -> int:
        return sum(len(t.action) for t in islice(loop, num_timesteps))

    return Contender(RANDOM_PLAY, run, envs.close)


@dataclass(frozen=True)
class AgentLoop(Contender):
    """A loop of an agent in its envs."""

    agent: Any = None
    transitions: Iterator[Transition] = iter(())


def agent_loop(
    session: BenchSession,
    name: str,
    experiment: Experiment,
    precision: Precision,
    num_timesteps: int,
    pipeline: int = 1,
    *,
    learns: bool = True,
) -> AgentLoop:
    """Return the training loop without logging, or the play of an untrained agent.

    A round is ``num_timesteps`` timesteps of all envs.
    """
    envs = make_batched_env(experiment, session.device, session.threads, pipeline)
    agent = experiment.agent.build(envs.spec, device=session.device, precision=precision)
    bonus = experiment.bonus.build(envs.spec, device=session.device, precision=precision)
    sync_every = experiment.agent.rollout_length if pipeline > 1 else 1
    loop = interact(envs, agent, sync_every=sync_every)

    def run() -> int:
        for t in islice(loop, num_timesteps):
            if learns:
                agent.learn(t.with_bonus(bonus(t)))
        return num_timesteps * experiment.num_envs

    return AgentLoop(name, run, envs.close, agent, loop)


def precision_label(precision: Precision, pipeline: int = 1) -> str:
    """Return the label of a precision and a number of pipelined groups in a row's name."""
    label = f"{precision.name}, {'compiled' if precision.compile else 'eager'}"
    return label if pipeline == 1 else f"{label}, {pipeline} parts"
