"""Whole loops against each other and against other libraries, in turns.

What is compared is interleaved: every round times each contender once, and a ratio is the median of
the rounds' own, so a machine that others use too slows both sides alike.
"""

import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.density_bonus import PseudoCountConfig
from agents.dqn import DoubleDQN, DQNConfig
from agents.loop import interact
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments.bench.peers import Contender, envpool_emulator, sb3_dqn, sb3_ppo
from experiments.bench.sitting import Row, Sitting, median, row, seconds
from experiments.config import Experiment
from experiments.presets import PRESETS
from experiments.streams import make_stream
from world_models.arithmetic import Arithmetic, using
from world_models.planning import PLANNERS
from world_models.planning.straw import STRAWConfig

GAME = "breakout"
BREAKOUT = AtariConfig(GAME, PROTOCOLS["nature"])
BARE = "bare emulator"


def race(sitting: Sitting, contenders: list[Contender], title: str, beside: list[str]) -> list[Row]:
    """Rates of the contenders in turns, with their ratios to those named in ``beside``."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(sitting.options.rounds + 1):
        for contender in contenders:
            begin = time.perf_counter()
            steps = contender.run()
            if sitting.device.type == "cuda":
                torch.cuda.synchronize()
            rate = steps / (time.perf_counter() - begin)
            if turn:  # the first compiles, fills and warms
                rates[contender.name].append(rate)
            what = f"round {turn} of {sitting.options.rounds}" if turn else "warming up"
            sitting.console.print(f"  {what}, {contender.name}: {rate:,.0f} agent steps/s")
    for contender in contenders:
        contender.close()
    rows = []
    for name, mine in rates.items():
        ratios = {
            other: statistics.median(a / b for a, b in zip(mine, rates[other], strict=True))
            for other in beside
            if other in rates and other != name
        }
        said = ", ".join(f"{ratio:.2f} x {other}" for other, ratio in ratios.items())
        made = row(f"{name}, {title}", "steps_per_second", statistics.median(mine), said)
        rows.append(made | {"rounds": mine, "ratios": ratios})
    return rows


def emulator(streams: int, threads: int, ticks: int) -> Contender:
    """Emulators alone, under random actions."""
    env: Any = BREAKOUT.build(streams, threads=threads)
    env.reset(seed=list(range(streams)))
    draw = np.random.default_rng(0)

    def run() -> int:
        for _ in range(ticks):
            env.step(draw.integers(env.single_action_space.n, size=streams))
        return ticks * streams

    return Contender(BARE, run, env.close)


def learner(
    name: str,
    sitting: Sitting,
    experiment: Experiment,
    *,
    way: Arithmetic,
    ticks: int,
    pipeline: int = 1,
    learns: bool = True,
) -> tuple[Contender, Any]:
    """The loop of training without its trackers, or of play alone; and its agent."""
    stream = make_stream(experiment, sitting.device, sitting.threads, pipeline)
    with using(way):
        agent = experiment.agent.build(stream.spec, device=sitting.device)
    bonus = experiment.bonus.build(stream.spec, device=sitting.device)
    loop = interact(stream, agent, ahead=experiment.agent.segment if pipeline > 1 else 1)

    def run() -> int:
        for t in islice(loop, ticks):
            if learns:
                agent.learn(t.with_bonus(bonus(t)))
        return ticks * experiment.streams

    return Contender(name, run, stream.close), agent


def way_title(way: Arithmetic, pipeline: int = 1) -> str:
    how = f"{way.precision}, {'compiled' if way.compile else 'eager'}"
    return how if pipeline == 1 else f"{how}, {pipeline} parts"


def rollouts(sitting: Sitting) -> list[Row]:
    """Emulators alone, as a stream, and played by the Nature network."""
    streams = 256 if sitting.device.type == "cuda" else 64
    ticks = 32
    experiment = replace(PRESETS["actor-critic"], env=BREAKOUT, streams=streams)
    stream = make_stream(experiment, sitting.device, sitting.threads)
    loop = interact(stream, RandomPolicy(stream.spec.num_actions))

    def bare_stream() -> int:
        return sum(len(t.action) for t in islice(loop, ticks))

    contenders = [
        emulator(streams, sitting.threads, ticks),
        Contender("stream", bare_stream, stream.close),
    ]
    if "envpool" in sitting.peers:
        contenders.append(
            envpool_emulator(GAME, streams=streams, threads=sitting.threads, ticks=ticks)
        )
    for way in (Arithmetic(), Arithmetic("bf16")):
        for pipeline in (1, 2):
            contender, _ = learner(
                f"rollout with policy, {way_title(way, pipeline)}",
                sitting,
                experiment,
                way=way,
                ticks=ticks,
                pipeline=pipeline,
                learns=False,
            )
            contenders.append(contender)
    return race(sitting, contenders, f"{GAME}, {streams} streams", [BARE, "bare EnvPool"])


def actor_critic(sitting: Sitting) -> list[Row]:
    """PPO in segments of 128 ticks, 4 epochs of 4 minibatches."""
    streams = 256 if sitting.device.type == "cuda" else 8
    experiment = replace(PRESETS["actor-critic"], env=BREAKOUT, streams=streams)
    contenders, agents = [emulator(streams, sitting.threads, 128)], {}
    for way in sitting.ways():
        for pipeline in (1, 2) if way.precision == "bf16" else (1,):
            contender, agent = learner(
                f"training actor-critic, {way_title(way, pipeline)}",
                sitting,
                experiment,
                way=way,
                ticks=128,
                pipeline=pipeline,
            )
            contenders.append(contender)
            agents[way_title(way, pipeline)] = agent, contender
    if "sb3" in sitting.peers:
        contenders.append(sb3_ppo(GAME, streams=streams, device=str(sitting.device)))
    title = f"{GAME}, {streams} streams x 128 ticks x 4 epochs"
    rows = []
    if sitting.device.type == "cuda":
        for _, contender in agents.values():
            contender.run()
        rows = _update_phases(agents)
    return race(sitting, contenders, title, [BARE, "Stable-Baselines3 PPO"]) + rows


def _update_phases(agents: dict[str, tuple[ActorCritic, Contender]]) -> list[Row]:
    """On a GPU: seconds of a segment's updates, and the device's idle share while training."""
    rows, reference = [], 0.0
    for name, (agent, contender) in agents.items():
        segment = agent.rollout.take()
        segment_seconds = median(partial(agent.improve, segment), agent.device, 5)
        reference = reference or segment_seconds
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            wall = seconds(contender.run, agent.device)
        busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
        ratio, idle = reference / segment_seconds, 1 - busy / wall
        said = f"{ratio:.2f} x the first, device idle {idle:.0%} of training"
        what = f"update phase of actor-critic, {name}"
        rows.append(row(what, "seconds", segment_seconds, said, ratio=ratio, idle_share=idle))
    return rows


def dqn(sitting: Sitting) -> list[Row]:
    """DQN without Monte-Carlo returns, its parts timed apart, and its twin that counts."""
    streams, ticks, warm = 8, 50, 2_000
    config = DQNConfig(monte_carlo_weight=0.0, learning_starts=warm, capacity=20_000)
    plain = Experiment(config, BREAKOUT, streams=streams)
    counting = replace(plain, bonus=PseudoCountConfig())
    ways = sitting.ways()
    named = [(f"training dqn, {way_title(way)}", plain, way) for way in ways]
    named += [
        (f"training dqn-cts, {way_title(ways[-1])}", counting, ways[-1]),
        (f"parts of dqn one by one, {way_title(ways[-1])}", plain, ways[-1]),
    ]
    contenders = []
    for name, experiment, way in named:
        contender, agent = learner(name, sitting, experiment, way=way, ticks=ticks)
        while agent.steps < warm:
            contender.run()
        if "parts" in name:
            contender = _parts(contender, agent, sitting, ticks)
        contenders.append(contender)
    if "sb3" in sitting.peers:
        contenders.append(sb3_dqn(GAME, streams=streams, warm_up=warm, device=str(sitting.device)))
    beside = [named[-1][0], named[-3][0], "Stable-Baselines3 DQN"]
    title = f"{GAME}, {streams} streams, a batch of 32 every 4 steps"
    return race(sitting, contenders, title, beside)


def _parts(learner: Contender, agent: DoubleDQN, sitting: Sitting, ticks: int) -> Contender:
    """What a loop cannot be faster than where nothing overlaps: emulators, acting, updates."""
    streams = agent.spec.num_envs
    emulators = emulator(streams, sitting.threads, ticks)
    stream = Stream(BREAKOUT.build(streams), device=sitting.device)
    step, memory = stream.reset(), agent.initial(streams)
    stream.close()
    updates = int(ticks * streams * agent.config.replay_ratio)

    def run() -> int:
        for _ in range(ticks):
            agent.act(step, memory)
        for _ in range(updates):
            agent.update()
        return emulators.run()

    def close() -> None:
        emulators.close()
        learner.close()

    return Contender(learner.name, run, close)


def planners(sitting: Sitting) -> list[Row]:
    """The actor-critic with each planner, in turns; STRAW with a tenth of its plan, too."""
    plans = {name: kind() for name, kind in PLANNERS.items()}
    plans["straw, 50 places"] = STRAWConfig(length=50)
    streams = 256 if sitting.device.type == "cuda" else 8
    contenders = []
    for name, planner in plans.items():
        agent = ActorCriticConfig(planner=planner)
        experiment = replace(PRESETS["actor-critic"], agent=agent, env=BREAKOUT, streams=streams)
        contenders.append(
            learner(f"planner {name}", sitting, experiment, way=Arithmetic(), ticks=128)[0]
        )
    title = f"training, {GAME}, {streams} streams x 128 ticks x 4 epochs"
    return race(sitting, contenders, title, ["planner reactive", "planner straw, 50 places"])
