"""Benchmarks of single parts, each timed separately."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from ...agents.episodic.neighbor_tables import NeighborTables
from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...agents.replay import Replay
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.batched_env import BatchedEnv
from ...envs.interface import Segment
from ...world_models.density import DENSITIES
from ...world_models.density.pixelcnn import PixelCNNConfig
from ...world_models.density.quantization import quantize_frames
from ...world_models.precision import PrecisionConfig, use_precision
from ...world_models.prediction.feedforward import SMALL
from ...world_models.prediction.imagination import Imagination
from ...world_models.representation import REPRESENTATIONS
from ..config.presets import PRESETS
from ..runs.checkpoints import Checkpoints
from ..runs.run import Run
from ..training.envs import random_play_throughput
from ..training.options import TrainOptions
from ..training.train import train
from .session import BenchSession, Row, median, row, seconds


def commands(session: BenchSession) -> list[Row]:
    """Measure whole processes, by the median of five."""
    main = [sys.executable, "-m", "reverie.experiments.cli.main"]
    processes = {
        "import reverie": [sys.executable, "-c", "import reverie"],
        "import of every part (reverie.experiments.ablation.ablate)": [
            sys.executable, "-c", "import reverie.experiments.ablation.ablate",
        ],
        "reverie --help": [*main, "--help"],
        "reverie list games": [*main, "list", "games"],
    }  # fmt: skip
    cpu = torch.device("cpu")
    return [
        row(name, "seconds", median(partial(_run_quietly, command), cpu, 5))
        for name, command in processes.items()
    ]


def mfec_training(session: BenchSession) -> list[Row]:
    """Measure training of mfec relative to random play, which is timed before and after it."""
    threads, steps = session.threads, session.options.steps
    experiment = replace(PRESETS["mfec"], total_timesteps=steps)
    before = random_play_throughput(experiment, threads, 5.0)
    options = TrainOptions(
        device=str(session.device),
        threads=threads,
        random_play_seconds=0,
        checkpoint_minutes=60,
        quiet=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        train(experiment, folder, options)
        rate = Run(folder).read_lines("metrics.jsonl")[-1]["charts/mean_SPS"]
    random_rate = (before + random_play_throughput(experiment, threads, 5.0)) / 2
    title = f"{experiment.env.env_name}, {experiment.num_envs} envs"
    name = f"training mfec, first {steps:,} steps, {title}"
    ratio = rate / random_rate
    remark = f"{ratio:.0%} of random play"
    return [
        row(f"random play, {title}", "steps_per_second", random_rate),
        row(name, "steps_per_second", rate, remark, ratio_to_random_play=ratio),
    ]


def replay(session: BenchSession) -> list[Row]:
    """Measure appending a timestep of 8 envs, and sampling a batch of 32 with frame stacks."""
    envs = BatchedEnv(
        AtariConfig("breakout", PROTOCOLS["nature"]).build(8, threads=session.threads)
    )
    buffer = Replay(envs.spec, capacity=20_000, gamma=0.99, monte_carlo=False)
    transitions = list(islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 300))
    envs.close()
    for t in transitions:
        buffer.append(t, t.next_step.reward)
    fresh = iter(transitions * 10)
    functions: dict[str, Callable[[], object]] = {
        "appending a timestep of 8 envs": lambda: buffer.append(
            t := next(fresh), t.next_step.reward
        ),
        "sampling a batch of 32": lambda: buffer.sample(32),
    }
    cpu = torch.device("cpu")
    return [
        row(f"replay: {name}", "seconds", median(function, cpu, 200))
        for name, function in functions.items()
    ]


def tables(session: BenchSession) -> list[Row]:
    """Measure one action's table of 1,000,000 keys of length 64."""
    size, num_queries, device = 1_000_000, 32, session.device
    generator = torch.Generator().manual_seed(0)
    tables = NeighborTables(1, 64, capacity=size, num_neighbors=11, device=device)
    for start in range(0, size, 100_000):
        keys = torch.randn(100_000, 64, generator=generator).to(device)
        tables.update(0, keys, torch.arange(start, start + 100_000, device=device), keys[:, 0])
    queries = torch.randn(num_queries, 64, generator=generator).to(device)
    digests = torch.arange(size, size + num_queries, device=device)
    lookup = median(lambda: tables.estimate(queries, digests), device)
    fresh = iter(range(2 * size, 3 * size, 100))
    replacing = median(lambda: _store_new_keys(tables, next(fresh), device), device)
    eviction = median(lambda: tables._allocate(0, 1), device)
    columns = [getattr(tables, name) for name in tables.columns]
    megabytes = (tables.keys.nbytes + sum(x.nbytes for x in columns)) / 1e6
    name = "a table of 1,000,000 keys: "
    return [
        row(f"{name}lookup of {num_queries} queries", "seconds", lookup),
        row(f"{name}one eviction", "seconds", eviction),
        row(f"{name}storing 100 new keys, 100 evicted", "seconds", replacing),
        row(f"{name}memory", "megabytes", megabytes),
    ]


def checkpoints(session: BenchSession) -> list[Row]:
    """Measure a checkpoint of a replay of 1,000,000 frames, and others 10,000 frames later.

    The first checkpoint writes 7 GB below ``runs/``.
    """
    frames = torch.empty(1_000_000, 84, 84, dtype=torch.uint8)
    for begin in range(0, len(frames), 50_000):
        frames[begin : begin + 50_000].random_()
    offsets, cpu = iter(range(0, 1_000_000, 10_000)), torch.device("cpu")

    def save() -> None:
        store.save(begin := next(offsets), {"frames": frames})
        frames[begin : begin + 10_000].random_()

    Path("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="runs") as folder:
        store = Checkpoints(Path(folder))
        first = seconds(save)
        later = median(save, cpu, 3)
    name = "checkpoint of a replay of 1,000,000 frames: "
    return [
        row(f"{name}the first", "seconds", first),
        row(f"{name}the next, 10,000 frames later", "seconds", later),
    ]


def densities(session: BenchSession) -> list[Row]:
    """Measure the frames per second that each density learns, in batches of 32 of random play."""
    envs = BatchedEnv(AtariConfig("montezuma_revenge", PROTOCOLS["machado"]).build(32))
    loop = islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 300)
    batches = [quantize_frames(t.next_step.frame, (42, 42), 8) for t in loop]
    envs.close()
    rows = []
    configs = {name: config() for name, config in DENSITIES.items()}
    configs["pixel-cnn, joint updates"] = PixelCNNConfig(update_per_frame=False)
    for name, config in configs.items():
        density = config.build(shape=(42, 42), levels=8, device=session.device)
        for batch in batches[:3]:  # warm-up, including compilation
            density.observe(batch)
        num_frames, begin = 0, time.perf_counter()
        for batch in batches[3:]:
            density.observe(batch)
            num_frames += len(batch)
            if time.perf_counter() - begin > 5:
                break
        rate = num_frames / (time.perf_counter() - begin)
        title = f"density {name}: learning 42 x 42 x 8 frames, {session.threads} threads"
        rows.append(row(title, "frames_per_second", rate))
    return rows


def representations(session: BenchSession) -> list[Row]:
    """Measure encoding of random play in batches of 32, and updates of models that learn."""
    device, threads = session.device, session.threads
    envs = BatchedEnv(AtariConfig("ms_pacman", PROTOCOLS["mfec"]).build(32), device=device)
    loop = islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 100)
    obs = [t.step.obs for t in loop][-1]
    obs_shape = envs.spec.obs_shape
    envs.close()
    variants = [(name, config(), PrecisionConfig()) for name, config in REPRESENTATIONS.items()]
    variants.append(("vae, bf16", REPRESENTATIONS["vae"](), PrecisionConfig("bf16")))
    rows = []
    for name, config, precision in variants:
        with use_precision(precision):
            model = config.build(obs_shape=obs_shape, device=device)
        rate = 32 / median(partial(model.encode, obs), device, repeats=101)
        title = f"representation {name}: encoding 84 x 84 frames, {threads} threads"
        rows.append(row(title, "frames_per_second", rate))
        if config.trainable:
            rate = 1 / median(partial(model.update, obs), device, repeats=5)
            title = f"representation {name}: updates of 32 frames, {threads} threads"
            rows.append(row(title, "updates_per_second", rate))
    return rows


def predictors(session: BenchSession) -> list[Row]:
    """Measure imagined steps and one-step updates with observations of 4 x 84 x 84."""
    num_envs, device, threads = 256, session.device, session.threads
    starts = _random_segment(num_envs)
    variants = {"small": PrecisionConfig(), "small, bf16": PrecisionConfig("bf16")}
    rows = []
    for name, precision in variants.items():
        with use_precision(precision):
            model = SMALL.build(obs_shape=(4, 84, 84), num_actions=6, device=device)
        batch_size = model.batch_shape[0]
        segment = _random_segment(batch_size)
        env = Imagination(model, starts, num_envs, tensors=True)
        env.reset(seed=0)
        action = torch.zeros(num_envs, dtype=torch.int64, device=device)
        imagined = num_envs / median(partial(env.step, action), device)
        learned = batch_size / median(partial(model.update, segment), device)
        title = f"predictor {name}: imagination in {num_envs} envs, {threads} threads"
        rows.append(row(title, "imagined_steps_per_second", imagined))
        title = f"predictor {name}: learning in batches of {batch_size}, {threads} threads"
        rows.append(row(title, "frames_per_second", learned))
    return rows


def peak_memory(session: BenchSession) -> list[Row]:
    """Measure the peak memory of this process, over all groups before."""
    peaks = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}
    if session.device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_allocated() / 1e6
    return [
        row(f"peak {kind} memory of these measurements", "megabytes", peak)
        for kind, peak in peaks.items()
    ]


def _random_segment(batch_size: int) -> Segment:
    """Return random observations of one transition per segment."""
    obs = torch.randint(256, (batch_size, 2, 4, 84, 84), dtype=torch.uint8)
    zeros, false = torch.zeros(batch_size, 1), torch.zeros(batch_size, 2, dtype=torch.bool)
    return Segment(zeros.long(), obs, zeros, zeros, zeros + 1, false, false, {})


def _store_new_keys(tables: NeighborTables, first_digest: int, device: torch.device) -> None:
    digests = torch.arange(first_digest, first_digest + 100, device=device)
    tables.update(0, torch.randn(100, 64, device=device), digests, torch.zeros(100, device=device))


def _run_quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
