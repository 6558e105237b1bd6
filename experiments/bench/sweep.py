"""What a machine with a GPU is to show, row by row, most valuable first.

Its tests; agents by number of envs, precision and compilation; predictors of the published sizes;
the lookup among a million keys; and one training. On a CPU the sizes are tiny, to try the rows.
"""

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ...agents.dqn import DQNConfig
from ...envs.errors import RunError
from ...world_models.precision import FLOAT32, Precision
from ...world_models.prediction import PREDICTORS
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..reporting.committed import CHECKOUT, require_checkout
from ..runs.run import Run
from ..sessions.options import TrainOptions
from ..training.train import train
from .interleaved import (
    BREAKOUT,
    EMULATORS,
    agent_loop,
    breakout_emulators,
    compare,
    precision_label,
)  # fmt: skip
from .measurement import Measurement
from .parts import predictor, tables
from .session import BenchSession, Row, row

Mode = tuple[Precision, int]
"""A precision, and the number of groups of envs, of which one acts while the others step."""
COMPILED = Precision("bf16", compile=True)
FASTEST: Mode = COMPILED, 2
MODES: tuple[Mode, ...] = (
    FASTEST,
    (COMPILED, 1),
    (Precision("bf16"), 1),
    (FLOAT32, 1),
    (Precision("fp32", compile=True), 1),
)
GPU_TESTS = ("test_cuda*.py", "device_laws.py")
LEARNERS = ("pqn", "ppo", "dqn")
"""Presets of agents with a network; the first is trained."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    num_envs: tuple[int, ...]
    """The first is measured first."""
    steps: int
    """Agent steps of a round, unless it is a rollout of an on-policy agent."""
    frame: tuple[int, int]
    """Rows and columns of the predicted frames."""
    training_envs: int
    training_seconds: float
    """Least time for the training."""


GPU = Size((256, 64, 1024), 16_000, (210, 160), training_envs=128, training_seconds=150)
CPU = Size((4, 2), 64, (64, 64), training_envs=2, training_seconds=15)


def sweep(device: torch.device) -> dict[str, Measurement]:
    """Return the measurements of a device by name, most valuable first.

    One of each kind comes first, then the training, which fills the rest of the time. Other numbers
    of envs and other modes follow it, and so are left for later calls.
    """
    size = CPU if device.type == "cpu" else GPU
    predictors = [
        name
        for name, x in PREDICTORS.items()
        if x.trainable and not name.startswith(("small", "ensemble"))
    ]
    plan: list[tuple[str, Measurement]] = []
    if device.type != "cpu":
        plan.append(("CUDA tests", Measurement(cuda_tests, seconds=80)))
    first, *others = size.num_envs
    plan.append(_rollout(LEARNERS[0], first, FASTEST, size))
    plan += [_training(name, first, FASTEST, size) for name in LEARNERS]
    plan += [_episodic(first), _predictor(predictors[0], Precision("bf16"), size)]
    plan.append(("lookup among 1,000,000 keys", Measurement(tables, seconds=10)))
    plan.append(_pong(LEARNERS[0], size))
    for mode in MODES:
        plan += [_training(name, first, mode, size) for name in LEARNERS]
        plan += [_rollout(name, first, mode, size) for name in LEARNERS]
    for mode in MODES:
        for num_envs in others:
            plan += [_training(name, num_envs, mode, size) for name in LEARNERS]
            plan += [_rollout(name, num_envs, mode, size) for name in LEARNERS]
    plan += [_episodic(num_envs) for num_envs in others]
    for precision in (Precision("bf16"), FLOAT32):
        plan += [_predictor(name, precision, size) for name in predictors]
    return dict(plan)  # the first of equal names decides the place


def cuda_tests(session: BenchSession) -> Iterator[Row]:
    """Run the tests that need a GPU; raises RunError if one fails."""
    require_checkout("reverie bench --sweep", writes=False)
    paths = [path for pattern in GPU_TESTS for path in (CHECKOUT / "tests").rglob(pattern)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, paths)]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    summary = (done.stdout.splitlines() or ["no output"])[-1].strip("= ")
    if done.returncode:
        raise RunError(f"{summary}\n{done.stdout[-8000:]}{done.stderr[-2000:]}")
    yield row("CUDA tests", "seconds", time.perf_counter() - begin, summary)


def rollout(
    session: BenchSession, name: str, mode: Mode, num_envs: int, steps: int
) -> Iterator[Row]:
    """Measure the play of an untrained agent beside the bare emulators."""
    num_timesteps = max(8, steps // num_envs)
    contenders = [
        breakout_emulators(session, num_envs, num_timesteps),
        agent_loop(
            session, f"rollout {name}, {precision_label(*mode)}", _experiment(name, num_envs),
            mode[0], num_timesteps, mode[1], learns=False,
        ),
    ]  # fmt: skip
    return compare(session, contenders, f"breakout, {num_envs} envs", [EMULATORS])


def training(
    session: BenchSession, name: str, mode: Mode, num_envs: int, steps: int
) -> Iterator[Row]:
    """Measure training without logging; a round of an on-policy agent is one rollout."""
    experiment, (precision, pipeline) = _experiment(name, num_envs), mode
    agent = experiment.agent
    num_timesteps = agent.rollout_length if agent.on_policy else max(2, steps // 8 // num_envs)
    label = f"training {name}, {precision_label(precision, pipeline)}"
    loop = agent_loop(session, label, experiment, precision, num_timesteps, pipeline)
    return compare(session, [loop], f"breakout, {num_envs} envs", [])


def episodic(session: BenchSession, num_envs: int, warmup: int) -> Iterator[Row]:
    """Measure MFEC after some timesteps of all envs, in which its tables are filled."""
    experiment = replace(PRESETS["mfec"], num_envs=num_envs)
    loop = agent_loop(session, "training mfec, fp32, eager", experiment, FLOAT32, 50)
    for _ in range(warmup // 50):
        loop.run()
    return compare(session, [loop], f"{experiment.env.env_name}, {num_envs} envs", [])


def pong(session: BenchSession, name: str, size: Size) -> Iterator[Row]:
    """Train on Pong for the time that is left; the result is the mean score of the last episodes.

    Raises RunError if no episode has ended.
    """
    preset, schedule = PRESETS[name], dict[str, Any]()
    if hasattr(preset.agent, "exploration_steps"):
        schedule["exploration_steps"] = 500_000  # a preset's is for hours
    experiment = replace(
        preset, agent=replace(preset.agent, **schedule), env=replace(BREAKOUT, game="pong"),
        num_envs=size.training_envs,
    )  # fmt: skip
    seconds = session.deadline - time.monotonic()
    seconds = size.training_seconds if math.isinf(seconds) else seconds
    minutes = max(1.0, seconds - 20) / 60  # the rest is for the beginning and the checkpoint
    precision, pipeline = FASTEST if session.device.type != "cpu" else (FLOAT32, 1)
    options = TrainOptions(
        device=str(session.device), threads=session.threads, precision=precision.name,
        compile=precision.compile, pipeline=pipeline, max_minutes=minutes,
        checkpoint_minutes=1e6, random_play_seconds=0, quiet=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run: Run = train(experiment, folder, options)
        episodes = run.read_lines("episodes.jsonl")[-100:]
        steps = max((r["step"] for r in run.read_lines("metrics.jsonl")), default=0)
    if not episodes:
        raise RunError(f"No episode ended in {minutes:.1f} minutes, {steps:,} agent steps.")
    score = statistics.mean(episode["score"] for episode in episodes)
    title = f"training {name} on pong, {precision_label(precision, pipeline)}"
    about = f"the last {len(episodes)} episodes of {steps:,} agent steps in {minutes:.1f} minutes"
    yield row(title, "score", score, about, steps=steps, minutes=minutes)


def _experiment(name: str, num_envs: int) -> Experiment:
    """Return a preset on Breakout; DQN learns from the first timesteps, from frames on the GPU."""
    preset = PRESETS[name]
    agent = preset.agent
    if isinstance(agent, DQNConfig):
        agent = replace(
            agent, monte_carlo_weight=0.0, learning_starts=num_envs, buffer_size=100_000,
            replay_on_device=True,
        )  # fmt: skip
    return replace(preset, agent=agent, env=BREAKOUT, num_envs=num_envs)


def _seconds(mode: Mode, steps: int = 0) -> float:
    """Return the expected seconds of building, compiling, and five rounds at 14,000 steps/s."""
    return 10 + 20 * mode[0].compile + 5 * steps / 14_000


def _rollout(name: str, num_envs: int, mode: Mode, size: Size) -> tuple[str, Measurement]:
    run = partial(rollout, name=name, mode=mode, num_envs=num_envs, steps=size.steps)
    title = f"rollout {name}, {precision_label(*mode)}, {num_envs} envs"
    return title, Measurement(run, _seconds(mode, size.steps))


def _training(name: str, num_envs: int, mode: Mode, size: Size) -> tuple[str, Measurement]:
    run = partial(training, name=name, mode=mode, num_envs=num_envs, steps=size.steps)
    title = f"training {name}, {precision_label(*mode)}, {num_envs} envs"
    agent = PRESETS[name].agent
    steps = agent.rollout_length * num_envs if agent.on_policy else size.steps
    return title, Measurement(run, _seconds(mode, steps))


def _episodic(num_envs: int) -> tuple[str, Measurement]:
    run = partial(episodic, num_envs=num_envs, warmup=1_000 if num_envs > 16 else 50)
    return f"training mfec, {num_envs} envs", Measurement(run, seconds=30)


def _predictor(name: str, precision: Precision, size: Size) -> tuple[str, Measurement]:
    config = PREDICTORS[name]
    run = partial(
        predictor,
        name=f"{name}, published",
        config=config() if isinstance(config, type) else config,
        obs_shape=(12, *size.frame),  # four frames of three channels
        channels=3,
        num_envs=32,
        precision=precision,
    )
    return f"predictor {name}, published, {precision.name}", Measurement(run, seconds=15)


def _pong(name: str, size: Size) -> tuple[str, Measurement]:
    run = partial(pong, name=name, size=size)
    return f"training {name} on pong", Measurement(run, size.training_seconds, fills=True)
