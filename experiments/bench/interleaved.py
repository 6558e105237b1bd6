"""Comparisons of whole loops with each other and with other libraries, in interleaved rounds.

Every round times each contender once, and a ratio is the median over rounds of the ratio within a
round, so that other load on the machine slows both sides alike.
"""

import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from ...agents.bonuses.density_bonus import PseudoCountConfig
from ...agents.dqn import DQN, DQNConfig
from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...agents.ppo import PPO, PPOConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.batched_env import BatchedEnv
from ...world_models.planning import PLANNERS
from ...world_models.planning.straw import STRAWConfig
from ...world_models.precision import PrecisionConfig, use_precision
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..training.envs import make_batched_env
from .peers import Contender, envpool_emulator, sb3_dqn, sb3_ppo
from .session import BenchSession, Row, median, row, seconds

GAME = "breakout"
BREAKOUT = AtariConfig(GAME, PROTOCOLS["nature"])
EMULATORS = "emulators only"


def rollouts(session: BenchSession) -> list[Row]:
    """Measure emulators alone, random play in a BatchedEnv, and play of the Nature network."""
    num_envs = 256 if session.device.type == "cuda" else 64
    num_timesteps = 32
    experiment = replace(PRESETS["ppo"], env=BREAKOUT, num_envs=num_envs)
    envs = make_batched_env(experiment, session.device, session.threads)
    loop = interact(envs, RandomPolicy(envs.spec.num_actions))

    def random_play() -> int:
        return sum(len(t.action) for t in islice(loop, num_timesteps))

    contenders = [
        emulators(num_envs, session.threads, num_timesteps),
        Contender("random play", random_play, envs.close),
    ]
    if "envpool" in session.peers:
        contenders.append(
            envpool_emulator(
                GAME, num_envs=num_envs, threads=session.threads, num_timesteps=num_timesteps
            )
        )
    for precision in (PrecisionConfig(), PrecisionConfig("bf16")):
        for pipeline in (1, 2):
            contender, _ = agent_loop(
                f"rollout with policy, {precision_label(precision, pipeline)}",
                session,
                experiment,
                precision=precision,
                num_timesteps=num_timesteps,
                pipeline=pipeline,
                learns=False,
            )
            contenders.append(contender)
    return compare(session, contenders, f"{GAME}, {num_envs} envs", [EMULATORS, "EnvPool"])


def ppo(session: BenchSession) -> list[Row]:
    """Measure PPO with rollouts of 128 timesteps and 4 epochs of 4 minibatches."""
    num_envs = 256 if session.device.type == "cuda" else 8
    experiment = replace(PRESETS["ppo"], env=BREAKOUT, num_envs=num_envs)
    contenders, agents = [emulators(num_envs, session.threads, 128)], {}
    for precision in session.precisions():
        for pipeline in (1, 2) if precision.precision == "bf16" else (1,):
            contender, agent = agent_loop(
                f"training ppo, {precision_label(precision, pipeline)}",
                session,
                experiment,
                precision=precision,
                num_timesteps=128,
                pipeline=pipeline,
            )
            contenders.append(contender)
            agents[precision_label(precision, pipeline)] = agent, contender
    if "sb3" in session.peers:
        contenders.append(sb3_ppo(GAME, num_envs=num_envs, device=str(session.device)))
    title = f"{GAME}, {num_envs} envs x 128 timesteps x 4 epochs"
    rows = []
    if session.device.type == "cuda":
        for _, contender in agents.values():
            contender.run()
        rows = _ppo_update_phases(agents)
    return compare(session, contenders, title, [EMULATORS, "Stable-Baselines3 PPO"]) + rows


def dqn(session: BenchSession) -> list[Row]:
    """Measure DQN without Monte-Carlo returns, its components in sequence, and DQN with CTS."""
    num_envs, num_timesteps, learning_starts = 8, 50, 2_000
    config = DQNConfig(monte_carlo_weight=0.0, learning_starts=learning_starts, buffer_size=20_000)
    plain = Experiment(config, BREAKOUT, num_envs=num_envs)
    with_bonus = replace(plain, bonus=PseudoCountConfig())
    precisions = session.precisions()
    fastest = precisions[-1]
    training = [f"training dqn, {precision_label(precision)}" for precision in precisions]
    components = f"components of dqn in sequence, {precision_label(fastest)}"
    workloads = [
        (name, plain, precision) for name, precision in zip(training, precisions, strict=True)
    ]
    workloads += [
        (f"training dqn-cts, {precision_label(fastest)}", with_bonus, fastest),
        (components, plain, fastest),
    ]
    contenders = []
    for name, experiment, precision in workloads:
        contender, agent = agent_loop(
            name, session, experiment, precision=precision, num_timesteps=num_timesteps
        )
        while agent.steps < learning_starts:
            contender.run()
        if name == components:
            contender = _dqn_components(contender, agent, session, num_timesteps)
        contenders.append(contender)
    if "sb3" in session.peers:
        contenders.append(
            sb3_dqn(
                GAME,
                num_envs=num_envs,
                learning_starts=learning_starts,
                device=str(session.device),
            )
        )
    baselines = [components, training[-1], "Stable-Baselines3 DQN"]
    title = f"{GAME}, {num_envs} envs, a batch of 32 every 4 steps"
    return compare(session, contenders, title, baselines)


def planners(session: BenchSession) -> list[Row]:
    """Measure PPO with each planner, and STRAW with a tenth of its plan length."""
    configs = {name: config() for name, config in PLANNERS.items()}
    short_straw = "straw, plan length 50"
    configs[short_straw] = STRAWConfig(length=50)
    num_envs = 256 if session.device.type == "cuda" else 8
    contenders = []
    for name, planner in configs.items():
        agent = PPOConfig(planner=planner)
        experiment = replace(PRESETS["ppo"], agent=agent, env=BREAKOUT, num_envs=num_envs)
        contender, _ = agent_loop(
            f"planner {name}", session, experiment, precision=PrecisionConfig(), num_timesteps=128
        )
        contenders.append(contender)
    title = f"training, {GAME}, {num_envs} envs x 128 timesteps x 4 epochs"
    return compare(session, contenders, title, ["planner reactive", f"planner {short_straw}"])


def compare(
    session: BenchSession, contenders: list[Contender], title: str, baselines: list[str]
) -> list[Row]:
    """Time the contenders in interleaved rounds; return their rates and ratios to the baselines.

    ``baselines`` are names of contenders; names of others are ignored.
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
            session.console.print(f"  {label}, {contender.name}: {rate:,.0f} agent steps/s")
    for contender in contenders:
        contender.close()
    rows = []
    for name, own_rates in rates.items():
        ratios = {
            baseline: statistics.median(
                a / b for a, b in zip(own_rates, rates[baseline], strict=True)
            )
            for baseline in baselines
            if baseline in rates and baseline != name
        }
        remark = ", ".join(f"{ratio:.2f} x {baseline}" for baseline, ratio in ratios.items())
        rate = statistics.median(own_rates)
        measured = row(f"{name}, {title}", "steps_per_second", rate, remark)
        rows.append(measured | {"rounds": own_rates, "ratios": ratios})
    return rows


def emulators(num_envs: int, threads: int, num_timesteps: int) -> Contender:
    """Return the vector env of Breakout under random actions, without BatchedEnv."""
    env: Any = BREAKOUT.build(num_envs, threads=threads)
    env.reset(seed=list(range(num_envs)))
    rng = np.random.default_rng(0)

    def run() -> int:
        for _ in range(num_timesteps):
            env.step(rng.integers(env.single_action_space.n, size=num_envs))
        return num_timesteps * num_envs

    return Contender(EMULATORS, run, env.close)


def agent_loop(
    name: str,
    session: BenchSession,
    experiment: Experiment,
    *,
    precision: PrecisionConfig,
    num_timesteps: int,
    pipeline: int = 1,
    learns: bool = True,
) -> tuple[Contender, Any]:
    """Return the training loop without logging, or the play of an untrained agent; and the agent.

    A round is ``num_timesteps`` timesteps of all envs.
    """
    envs = make_batched_env(experiment, session.device, session.threads, pipeline)
    with use_precision(precision):
        agent = experiment.agent.build(envs.spec, device=session.device)
    bonus = experiment.bonus.build(envs.spec, device=session.device)
    sync_every = experiment.agent.rollout_length if pipeline > 1 else 1
    loop = interact(envs, agent, sync_every=sync_every)

    def run() -> int:
        for t in islice(loop, num_timesteps):
            if learns:
                agent.learn(t.with_bonus(bonus(t)))
        return num_timesteps * experiment.num_envs

    return Contender(name, run, envs.close), agent


def precision_label(precision: PrecisionConfig, pipeline: int = 1) -> str:
    """Return the label of a precision and a number of pipelined groups in a row's name."""
    label = f"{precision.precision}, {'compiled' if precision.compile else 'eager'}"
    return label if pipeline == 1 else f"{label}, {pipeline} parts"


def _ppo_update_phases(agents: dict[str, tuple[PPO, Contender]]) -> list[Row]:
    """Measure, on a GPU, a rollout's updates, and the device's idle share during training."""
    rows, reference = [], 0.0
    for name, (agent, contender) in agents.items():
        segment = agent.rollout.pop()
        update_seconds = median(partial(agent.train_on, segment), agent.device, 5)
        reference = reference or update_seconds
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            wall = seconds(contender.run, agent.device)
        busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
        ratio, idle = reference / update_seconds, 1 - busy / wall
        remark = f"{ratio:.2f} x the first, device idle {idle:.0%} of training"
        title = f"update phase of ppo, {name}"
        rows.append(row(title, "seconds", update_seconds, remark, ratio=ratio, idle_share=idle))
    return rows


def _dqn_components(
    training: Contender, agent: DQN, session: BenchSession, num_timesteps: int
) -> Contender:
    """Return acting, updates and emulators in sequence, the lower bound of a loop without overlap.

    Closing it also closes the ``training`` contender of the agent.
    """
    num_envs = agent.spec.num_envs
    emulators_only = emulators(num_envs, session.threads, num_timesteps)
    envs = BatchedEnv(BREAKOUT.build(num_envs), device=session.device)
    step, carry = envs.reset(), agent.initial(num_envs)
    envs.close()
    num_updates = int(num_timesteps * num_envs * agent.config.replay_ratio)

    def run() -> int:
        for _ in range(num_timesteps):
            agent.act(step, carry)
        for _ in range(num_updates):
            agent.update()
        return emulators_only.run()

    def close() -> None:
        emulators_only.close()
        training.close()

    return Contender(training.name, run, close)
