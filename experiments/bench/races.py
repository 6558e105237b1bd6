"""Races of agents, their parts, and other libraries at the same settings."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from ...agents.bonuses.density_bonus import PseudoCountConfig
from ...agents.dqn import DQNConfig
from ...agents.loop import interact
from ...agents.ppo import PPOConfig
from ...envs.batched_env import BatchedEnv
from ...world_models.planning import PLANNERS
from ...world_models.planning.straw import STRAWConfig
from ...world_models.precision import FLOAT32, Precision
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..training.envs import make_batched_env
from .interleaved import (
    BREAKOUT,
    EMULATORS,
    GAME,
    RANDOM_PLAY,
    AgentLoop,
    agent_loop,
    bare_emulators,
    breakout_emulators,
    compare,
    precision_label,
    random_play,
)  # fmt: skip
from .peers import Contender, cleanrl_ppo, envpool_emulators, sb3_dqn, sb3_ppo
from .plain_mfec import PlainMFEC
from .session import BenchSession, Row


def rollouts(session: BenchSession) -> Iterator[Row]:
    """Measure emulators alone, random play in a BatchedEnv, and play of the Nature network."""
    num_envs, num_timesteps = session.num_envs(cpu=64), 32
    experiment = replace(PRESETS["ppo"], env=BREAKOUT, num_envs=num_envs)
    contenders = [
        breakout_emulators(session, num_envs, num_timesteps),
        random_play(session, experiment, num_timesteps),
    ]
    if "envpool" in session.peers:
        size = {"num_envs": num_envs, "num_timesteps": num_timesteps}
        contenders.append(envpool_emulators(GAME, threads=session.threads, **size))
    for precision, pipeline in itertools.product((FLOAT32, Precision("bf16")), (1, 2)):
        name = f"rollout with policy, {precision_label(precision, pipeline)}"
        contenders.append(
            agent_loop(session, name, experiment, precision, num_timesteps, pipeline, learns=False)
        )
    return compare(session, contenders, f"{GAME}, {num_envs} envs", [EMULATORS, "EnvPool"])


def ppo(session: BenchSession) -> Iterator[Row]:
    """Measure PPO with rollouts of 128 timesteps and 4 epochs of 4 minibatches."""
    num_envs = session.num_envs(cpu=8)
    experiment = replace(PRESETS["ppo"], env=BREAKOUT, num_envs=num_envs)
    contenders = [breakout_emulators(session, num_envs, 128)]
    for precision in session.precisions():
        for pipeline in (1, 2) if precision.name == "bf16" else (1,):
            name = f"training ppo, {precision_label(precision, pipeline)}"
            contenders.append(agent_loop(session, name, experiment, precision, 128, pipeline))
    settings: dict[str, Any] = {"num_envs": num_envs, "device": str(session.device)}
    if "sb3" in session.peers:
        contenders.append(sb3_ppo(GAME, **settings))
    if "cleanrl" in session.peers:
        checkout = session.peers["cleanrl"]
        contenders.append(cleanrl_ppo(checkout, GAME, threads=session.threads, **settings))
    title = f"{GAME}, {num_envs} envs x 128 timesteps x 4 epochs"
    baselines = [EMULATORS, "Stable-Baselines3 PPO", "CleanRL PPO on EnvPool"]
    return compare(session, contenders, title, baselines)


def dqn(session: BenchSession) -> Iterator[Row]:
    """Measure DQN without Monte-Carlo returns, its components in sequence, and DQN with CTS.

    Without double Q-learning its updates are those of Stable-Baselines3's DQN.
    """
    num_envs, num_timesteps, learning_starts = 8, 50, 2_000
    config = DQNConfig(monte_carlo_weight=0.0, learning_starts=learning_starts, buffer_size=20_000)
    plain = Experiment(config, BREAKOUT, num_envs=num_envs)
    training = {
        f"training dqn, {precision_label(precision)}": (plain, precision)
        for precision in session.precisions()
    }
    *_, (fastest_training, (_, fastest)) = training.items()
    label, with_bonus = precision_label(fastest), replace(plain, bonus=PseudoCountConfig())
    components = f"components of dqn in sequence, {label}"
    without_double_q = replace(plain, agent=replace(config, double_q=False))
    workloads = training | {
        f"training dqn without double Q, {label}": (without_double_q, fastest),
        f"training dqn-cts, {label}": (with_bonus, fastest),
    }
    workloads[components] = plain, fastest
    contenders: list[Contender] = []
    for name, (experiment, precision) in workloads.items():
        loop = agent_loop(session, name, experiment, precision, num_timesteps)
        while loop.agent.steps < learning_starts:
            loop.run()
        sequential = name == components
        contenders.append(dqn_components(session, loop, num_timesteps) if sequential else loop)
    if "sb3" in session.peers:
        settings = {"num_envs": num_envs, "learning_starts": learning_starts}
        contenders.append(sb3_dqn(GAME, device=str(session.device), **settings))
    title = f"{GAME}, {num_envs} envs, a batch of 32 every 4 steps"
    baselines = [components, fastest_training, "Stable-Baselines3 DQN"]
    return compare(session, contenders, title, baselines)


def mfec(session: BenchSession) -> Iterator[Row]:
    """Measure MFEC from empty tables on beside its emulators; it slows down as the tables grow.

    62 rounds are the first 200,000 agent steps.
    """
    experiment, num_timesteps = PRESETS["mfec"], 200
    contenders = [
        bare_emulators(session, experiment, num_timesteps),
        random_play(session, experiment, num_timesteps),
        agent_loop(session, "training mfec", experiment, FLOAT32, num_timesteps),
    ]
    title = f"{experiment.env.env_name}, {experiment.num_envs} envs x {num_timesteps} timesteps"
    return compare(session, contenders, title, [EMULATORS, RANDOM_PLAY])


def episodic(session: BenchSession) -> Iterator[Row]:
    """Measure MFEC and plain numpy with tables of 2,000 and 50,000 random keys over all actions.

    Plain numpy acts on the CPU.
    """
    experiment, num_timesteps = PRESETS["mfec"], 25
    for num_keys in (2_000, 50_000):
        ours = agent_loop(session, "training mfec", experiment, FLOAT32, num_timesteps)
        envs = make_batched_env(experiment, torch.device("cpu"), session.threads)
        capacity = num_keys + 20_000  # over all rounds no table is full
        plain = PlainMFEC(envs.spec, capacity=capacity)
        digests = torch.arange(num_keys, device=session.device)
        for action in range(envs.spec.num_actions):
            part = digests[action :: envs.spec.num_actions]
            keys = torch.randn(len(part), 64)
            ours.agent.tables.update(action, keys.to(session.device), part, part.float())
            for key, value in zip(keys.numpy(), part.tolist(), strict=True):
                plain.tables[action].update(key, value)
        contenders = [ours, plain_loop(envs, plain, num_timesteps)]
        title = f"{num_keys:,} keys, {experiment.env.env_name}, {experiment.num_envs} envs"
        yield from compare(session, contenders, title, ["plain numpy"])


def planners(session: BenchSession) -> Iterator[Row]:
    """Measure PPO with each planner, and STRAW with a tenth of its plan length."""
    short_straw, num_envs = "straw, plan length 50", session.num_envs(cpu=8)
    preset = replace(PRESETS["ppo"], env=BREAKOUT, num_envs=num_envs)
    configs = {name: kind() for name, kind in PLANNERS.items() if not kind.needs_privileged}
    configs[short_straw] = STRAWConfig(length=50)
    contenders = []
    for name, planner in configs.items():
        experiment = replace(preset, agent=PPOConfig(planner=planner))
        contenders.append(agent_loop(session, f"planner {name}", experiment, FLOAT32, 128))
    title = f"training, {GAME}, {num_envs} envs x 128 timesteps x 4 epochs"
    return compare(session, contenders, title, ["planner reactive", f"planner {short_straw}"])


def plain_loop(envs: BatchedEnv, agent: PlainMFEC, num_timesteps: int) -> Contender:
    """Return the training loop of episodic control in plain numpy."""
    loop = interact(envs, agent)

    def run() -> int:
        for t in islice(loop, num_timesteps):
            agent.learn(t)
        return num_timesteps * envs.spec.num_envs

    return Contender("plain numpy", run, envs.close)


def dqn_components(session: BenchSession, loop: AgentLoop, num_timesteps: int) -> Contender:
    """Return acting, updates and emulators in sequence, the lower bound of a loop without overlap.

    Closing it also closes the ``loop`` of the agent.
    """
    agent = loop.agent
    num_envs = agent.spec.num_envs
    own_emulators = breakout_emulators(session, num_envs, num_timesteps)
    t = next(loop.transitions)
    num_updates = int(num_timesteps * num_envs * agent.config.replay_ratio)

    def run() -> int:
        for _ in range(num_timesteps):
            agent.act(t.step, t.carry)
        for _ in range(num_updates):
            agent.update()
        return own_emulators.run()

    def close() -> None:
        own_emulators.close()
        loop.close()

    return Contender(loop.name, run, close)
