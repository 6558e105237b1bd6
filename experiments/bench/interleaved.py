"""Comparisons of whole loops with each other and with other libraries, in interleaved rounds.

Every round times each contender once, and a ratio is the median over rounds of the ratio within a
round, so that other load on the machine slows both sides alike.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import truediv
from typing import Any

import torch

from ...agents.bonuses.density_bonus import PseudoCountConfig
from ...agents.dqn import DQNConfig
from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...agents.ppo import PPOConfig
from ...agents.seeds_together.interface import together
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.batched_env import BatchedEnv
from ...envs.deep_sea import DeepSeaConfig
from ...envs.interface import Transition
from ...envs.seed_envs import SeedEnvs
from ...world_models.planning import PLANNERS
from ...world_models.planning.straw import STRAWConfig
from ...world_models.precision import FLOAT32, Precision
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..training.envs import make_batched_env
from .peers import Contender, cleanrl_ppo, emulators, envpool_emulators, sb3_dqn, sb3_ppo
from .plain_mfec import PlainMFEC
from .session import BenchSession, Row, gpu_seconds, row

GAME = "breakout"
BREAKOUT = AtariConfig(GAME, PROTOCOLS["nature"])
EMULATORS, RANDOM_PLAY = "emulators only", "random play"


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
    configs = {name: config() for name, config in PLANNERS.items()}
    configs[short_straw] = STRAWConfig(length=50)
    contenders = []
    for name, planner in configs.items():
        experiment = replace(preset, agent=PPOConfig(planner=planner))
        contenders.append(agent_loop(session, f"planner {name}", experiment, FLOAT32, 128))
    title = f"training, {GAME}, {num_envs} envs x 128 timesteps x 4 epochs"
    return compare(session, contenders, title, ["planner reactive", f"planner {short_straw}"])


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


def plain_loop(envs: BatchedEnv, agent: PlainMFEC, num_timesteps: int) -> Contender:
    """Return the training loop of episodic control in plain numpy."""
    loop = interact(envs, agent)

    def run() -> int:
        for t in islice(loop, num_timesteps):
            agent.learn(t)
        return num_timesteps * envs.spec.num_envs

    return Contender("plain numpy", run, envs.close)


def precision_label(precision: Precision, pipeline: int = 1) -> str:
    """Return the label of a precision and a number of pipelined groups in a row's name."""
    label = f"{precision.name}, {'compiled' if precision.compile else 'eager'}"
    return label if pipeline == 1 else f"{label}, {pipeline} parts"


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
